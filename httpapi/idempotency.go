package httpapi

import (
	"crypto/sha256"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

const (
	maxIdempotencyKey = 128 // characters
	fingerprintSize   = 16  // bytes of the SHA-256
)

// idempotency reads the Idempotency-Key of a request with this raw body; nil
// without one.
func idempotency(c echo.Context, body []byte) (*cluster.Idempotency, error) {
	r := c.Request()
	key, err := idempotencyKey(r.Header)
	if key == "" || err != nil {
		return nil, err
	}
	return &cluster.Idempotency{Key: keyOf(bearerOf(c).Owner, key), Fingerprint: fingerprint(r, body)}, nil
}

// lineIdempotency is that of one line of a batch with this key; nil without one.
func lineIdempotency(r *http.Request, owner, key string, line []byte) *cluster.Idempotency {
	if key == "" {
		return nil
	}
	return &cluster.Idempotency{Key: keyOf(owner, key), Fingerprint: fingerprint(r, line)}
}

// keyOf makes the key its owner's: another one who sends the same must not be
// given his keys, nor told that his link is theirs. No key has the character
// between them.
func keyOf(owner, key string) string {
	if owner == "" {
		return key
	}
	return key + "\x01" + owner
}

func idempotencyKey(header http.Header) (string, error) {
	values := header["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 {
		key = ""
	}
	return key, checkIdempotencyKey(key)
}

func checkIdempotencyKey(key string) error {
	if key == "" || len(key) > maxIdempotencyKey {
		return refusef(kindInvalidIdempotency, "want one Idempotency-Key of 1 to %d characters", maxIdempotencyKey)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return refusef(kindInvalidIdempotency, "only printable ASCII characters")
		}
	}
	return nil
}

func fingerprint(r *http.Request, body []byte) []byte {
	hash := sha256.New()
	hash.Write([]byte(r.Method + "\x00" + r.URL.Path + "\x00"))
	hash.Write(body)
	return hash.Sum(nil)[:fingerprintSize]
}
