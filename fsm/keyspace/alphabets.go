package keyspace

// Base62 is the usual alphabet: digits and letters, in ASCII order.
const Base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Alphabets are those that have a name. base58 is Bitcoin's, without 0 O I l;
// crockford32 is Douglas Crockford's, without I L O U.
var Alphabets = map[string]string{
	"base62":      Base62,
	"base58":      "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
	"base36":      "0123456789abcdefghijklmnopqrstuvwxyz",
	"crockford32": "0123456789ABCDEFGHJKMNPQRSTVWXYZ",
	"hex":         "0123456789abcdef",
	"digits":      "0123456789",
	"lowercase":   lowerCase,
	"uppercase":   upperCase,
}
