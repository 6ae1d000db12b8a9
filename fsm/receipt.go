package fsm

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
)

// Receipt says which keys of which leases a caller was given.
type Receipt struct {
	Space  uint32
	Grants []Grant
}

// Grant is a run [From, From+Count) of positions of one lease.
type Grant struct{ Lease, From, Count uint64 }

// Sealed form: version byte, 16 bytes of HMAC-SHA-256 under the cluster's
// secret over the rest, then varints: space, and lease, from, count of each grant.
const (
	receiptVersion = 1
	receiptMAC     = 16
	receiptHeader  = 1 + receiptMAC
)

var errReceipt = errors.New("it was not issued by this cluster, or is damaged")

// ReceiptSize is the room, in bytes, that the sealed form of one grant takes at most.
const ReceiptSize = receiptHeader + binary.MaxVarintLen32 + 3*binary.MaxVarintLen64

// Seal appends the receipt's sealed form to dst.
func (r Receipt) Seal(dst, secret []byte) []byte {
	start := len(dst)
	dst = append(dst, receiptVersion)
	dst = append(dst, make([]byte, receiptMAC)...)
	dst = binary.AppendUvarint(dst, uint64(r.Space))
	for _, g := range r.Grants {
		dst = binary.AppendUvarint(dst, g.Lease)
		dst = binary.AppendUvarint(dst, g.From)
		dst = binary.AppendUvarint(dst, g.Count)
	}
	mac := seal(secret, dst[start+receiptHeader:])
	copy(dst[start+1:], mac[:])
	return dst
}

// sealer is a MAC with its key. To key one costs more than to use it.
type sealer struct {
	secret []byte
	mac    hash.Hash
	sum    [sha256.Size]byte
}

// sealers are kept for reuse. There is one secret but in tests.
var sealers = sync.Pool{New: func() any { return &sealer{} }}

func seal(secret, body []byte) (mac [receiptMAC]byte) {
	s := sealers.Get().(*sealer)
	defer sealers.Put(s)
	if s.mac == nil || !bytes.Equal(s.secret, secret) {
		s.secret = bytes.Clone(secret)
		s.mac = hmac.New(sha256.New, s.secret)
	}
	s.mac.Reset()
	s.sum[0] = receiptVersion
	s.mac.Write(s.sum[:1])
	s.mac.Write(body)
	copy(mac[:], s.mac.Sum(s.sum[:0]))
	return mac
}

// OpenReceipt checks the seal and decodes.
func OpenReceipt(secret, sealed []byte) (Receipt, error) {
	if len(sealed) < receiptHeader || sealed[0] != receiptVersion {
		return Receipt{}, errReceipt
	}
	body := sealed[receiptHeader:]
	if mac := seal(secret, body); len(secret) == 0 || !hmac.Equal(sealed[1:receiptHeader], mac[:]) {
		return Receipt{}, errReceipt
	}
	var numbers []uint64
	for len(body) > 0 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			return Receipt{}, errReceipt
		}
		numbers, body = append(numbers, v), body[n:]
	}
	if len(numbers)%3 != 1 {
		return Receipt{}, errReceipt
	}
	r := Receipt{Space: uint32(numbers[0])}
	for i := 1; i < len(numbers); i += 3 {
		r.Grants = append(r.Grants, Grant{numbers[i], numbers[i+1], numbers[i+2]})
	}
	return r, nil
}

// lease finds the lease under which the receipt's caller was given pos.
func (r Receipt) lease(pos uint64) (uint64, bool) {
	for _, g := range r.Grants {
		if pos >= g.From && pos-g.From < g.Count {
			return g.Lease, true
		}
	}
	return 0, false
}
