package chaos

import (
	"slices"
	"strings"
	"sync"
)

// The oracles of the ledger, by the promises of the design.
const (
	oracleKeys   = "P1 no key twice"
	oracleLinks  = "P3 acknowledged links"
	oracleReplay = "P5 one effect, one answer"
	oracleReads  = "P6 reads"
	oracleReply  = "answers make sense"
)

// ledger is what the clients know, all together: every key that any of them
// was ever given, and where each of their links may lead.
type ledger struct {
	*judge

	mu      sync.Mutex
	issued  map[string]string // key -> to whom
	links   map[string]*link  // by key
	sample  []*link           // those of links, in the order in which they came
	unclear map[string]bool   // URLs of links that may be there, under a key nobody knows
	made    int               // links acknowledged
}

func newLedger(j *judge) *ledger {
	return &ledger{judge: j, issued: map[string]string{}, links: map[string]*link{}, unclear: map[string]bool{}}
}

// issue records keys that a client was given, or claimed as an alias. None may
// be there already, not even one that was returned: it rests for longer than a
// run takes.
func (l *ledger) issue(to string, keys ...string) {
	l.checked(oracleKeys, len(keys))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if before, twice := l.issued[key]; twice {
			l.violatef(oracleKeys, "key %s given to %s, and before to %s", key, to, before)
		}
		l.issued[key] = to
	}
}

// add records a link that was acknowledged through a process.
func (l *ledger) add(key, url, process string) *link {
	added := &link{key: key, values: []string{url}, through: process}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	l.put(added)
	return added
}

// addUnclear records a link whose creation has an unknown outcome; key is "" if
// that is unknown too.
func (l *ledger) addUnclear(key, url string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if key == "" {
		l.unclear[url] = true
		return
	}
	l.put(&link{key: key, values: []string{gone, url}})
}

func (l *ledger) put(added *link) {
	if before := l.links[added.key]; before != nil {
		l.violatef(oracleLinks, "key %s has two links: %s and %s", added.key, before.values, added.values)
	}
	l.links[added.key] = added
	l.sample = append(l.sample, added)
}

// any picks a link of anybody; nil if there is none.
func (l *ledger) any(random func(n int) int) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sample) == 0 {
		return nil
	}
	return l.sample[random(len(l.sample))]
}

// all returns the links, and the URLs whose key nobody knows.
func (l *ledger) all() (links []*link, unclear map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sample), l.unclear
}

// snapshot is where each link may lead now.
func (l *ledger) snapshot() map[*link][]string {
	links, _ := l.all()
	then := map[*link][]string{}
	for _, known := range links {
		then[known] = known.possible()
	}
	return then
}

// rollBack is what a restore of that moment does to the links. The keys stay
// given: none of them may ever come again.
func (l *ledger) rollBack(then map[*link][]string) {
	links, _ := l.all()
	for _, known := range links {
		values, there := then[known]
		if !there {
			values = []string{gone}
		}
		known.reset(values)
	}
}

// link returns the link under a key; nil if nobody was told of one.
func (l *ledger) link(key string) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[key]
}

// settledLinks bounds what settled returns.
const settledLinks = 100

// settled returns some links that are there for certain, whatever is under way.
func (l *ledger) settled() []*link {
	links, _ := l.all()
	var settled []*link
	for _, candidate := range links {
		if candidate.usable() && len(settled) < settledLinks {
			settled = append(settled, candidate)
		}
	}
	return settled
}

// counts of keys of the key space, and of acknowledged links.
func (l *ledger) counts() (keys, links int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.issued {
		if !strings.Contains(key, "-") { // else an alias outside of it
			keys++
		}
	}
	return keys, l.made
}
