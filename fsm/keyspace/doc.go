// Package keyspace is the arithmetic under the Key-DB: it turns numbers into
// keys and back, and it keeps sets of numbers as runs.
//
// It is pure. There is no I/O, no clock, no randomness and no logging here;
// the same calls give the same answers on every replica, and that is what the
// replicated state machine in package fsm stands on.
//
// # Keys are positions
//
// The space of 6-character base62 keys holds 56.8 billion keys. As strings
// they would fill some 400 GB on every replica, so kgs never stores them. It
// stores positions 0, 1, 2, ... and computes the key at a position:
//
//	key(i) = FF1_K(i)
//
// FF1 is the format-preserving encryption of NIST SP 800-38G: a keyed
// permutation of the strings over an alphabet. Three properties follow:
//
//   - Two positions never give the same key, because FF1 is a bijection. There
//     is nothing to check for collisions and nothing to retry.
//   - A key gives back its position ([Permutation.Position]), so "which row
//     holds this key" needs no index.
//   - Without the secret K the keys look random: who holds some of them can
//     neither guess the next one nor count how many there are.
//
// A [Space] says which strings are keys: an alphabet and a length. A
// [Permutation] is a space with its secret:
//
//	space := keyspace.Space{Alphabet: keyspace.Base62, Length: 6}
//	perm, err := keyspace.NewPermutation(space, secret) // 32 bytes
//	...
//	key := perm.AppendKey(nil, 0)           // 6 bytes
//	pos, ok := perm.Position(string(key))   // 0, true
//	keys := perm.AppendKeys(nil, 0, 10_000) // 60,000 bytes, the fast way
//
// A space may have a prefix and a check character; they stand around what FF1
// gives and are no part of the position. Position refuses a key in which the
// check character is wrong, and Fault says so. The check character is Luhn mod N:
// it takes any alphabet of an even number of characters, and needs no other
// characters than the alphabet's, as ISO 7064 would.
//
// A key of a case-insensitive space may be written with its letters in either case:
// Position takes all that stands for it, [Permutation.Canonical] gives the key.
//
// The order of the characters in the alphabet and the secret are part of the
// permutation. Neither may change once a key has been handed out.
//
// # Tables are runs
//
// Positions are generated, leased and returned in bulk, so both tables hold
// a [Run], the half-open range [From, To), per row. A lease of a million keys
// touches one or two rows, not a million.
//
//   - [Set] is `unused_keys`: runs without values. Neighbours are merged, so a
//     set of positions has exactly one representation.
//   - [Table] is `used_keys`: runs that each carry a value, their lease. They
//     are never merged, since each keeps its own lease; cutting into one
//     splits it, and both parts keep the value.
//
// Set and Table hold no data. They are the rules over a [Rows], an ordered
// map from a run's From to the run, which the caller supplies: the state
// machine gives a view of its store's batch, the tests a B-tree. A call costs
// a fixed number of Rows calls per row that it adds, changes or removes,
// whatever the length of the runs:
//
//	Set.Contains, Table.Find      1 call
//	Set.Add, Table.Insert         at most 4 calls
//	Set.Remove                    at most 3 calls
//	Set.Take, Table.Cut           2 calls per row taken, plus 1
//	Table.Gaps                    1 call per row inside the range, plus 2
//
// What is refused changes nothing: every method checks first and writes
// afterwards. Nothing here locks. A Set or Table is as safe for concurrent
// use as its Rows; a Permutation is safe for concurrent use.
//
// # What was decided, and why
//
// One implementation of FF1 serves every valid Space. A Space has fewer than
// 2^63 keys, so each half of the Feistel network fits a machine word, its
// round input one AES block, and its round output two words.
// The general FF1 (any radix, tweak and length, on math/big) is in the tests:
// it is checked against NIST's nine published samples, and the code here is
// checked against it.
//
// The tweak is empty. A tweak separates uses of one key; each key space, and
// each length that it grows to, has a permutation of its own instead.
//
// FF1 asks for at least a million strings (SP 800-38G Revision 1, which
// raised the older bound of 100 after attacks on small domains), and so does
// [Space.Validate]. The alphabet is limited to the characters that need no
// escaping in a URL path, A-Z a-z 0-9 _ and -, hence to 64.
package keyspace
