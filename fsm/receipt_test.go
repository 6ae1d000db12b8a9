package fsm

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func drawReceipt(t *rapid.T) Receipt {
	return Receipt{
		Space: rapid.Uint32().Draw(t, "space"),
		Grants: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Grant {
			n := rapid.Uint64()
			return Grant{n.Draw(t, "lease"), n.Draw(t, "from"), n.Draw(t, "count")}
		}), 0, 5).Draw(t, "grants"),
	}
}

func TestReceiptRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawReceipt(t)
		prefix := []byte("kept")
		sealed := want.Seal(prefix, testSecret)
		equal(t, string(sealed[:4]), "kept")
		got, err := OpenReceipt(testSecret, sealed[4:])
		check(t, err)
		if got.Space != want.Space || len(got.Grants) != len(want.Grants) ||
			len(want.Grants) > 0 && !reflect.DeepEqual(got.Grants, want.Grants) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestReceiptRefusesEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sealed := drawReceipt(t).Seal(nil, testSecret)
		flip := rapid.ByteRange(1, 255).Draw(t, "flip")
		refused := func(what string, at int, changed []byte) {
			if r, err := OpenReceipt(testSecret, changed); err == nil {
				t.Fatalf("%s %d: opened as %v", what, at, r)
			}
		}
		for i := range sealed {
			sealed[i] ^= flip
			refused("flipped", i, sealed)
			sealed[i] ^= flip
			refused("cut to", i, sealed[:i])
		}
		refused("longer", 1, append(sealed, rapid.Byte().Draw(t, "more")))
		if _, err := OpenReceipt([]byte("other"), sealed); err == nil {
			t.Fatalf("opened with another secret")
		}
	})
}

// Before the cluster is formed there is no secret, and "no secret" opens nothing.
func TestReceiptWithoutSecret(t *testing.T) {
	sealed := Receipt{Space: 1, Grants: []Grant{{1, 0, 10}}}.Seal(nil, nil)
	if _, err := OpenReceipt(nil, sealed); err == nil {
		t.Fatal("opened")
	}
}

func TestReceiptFindsTheLease(t *testing.T) {
	r := Receipt{Grants: []Grant{{5, 10, 3}, {6, 20, 1}, {7, math.MaxUint64, 9}}}
	for pos, want := range map[uint64]uint64{9: 0, 10: 5, 12: 5, 13: 0, 20: 6, 21: 0, 0: 0, 7: 0, math.MaxUint64: 7} {
		got, ok := r.lease(pos)
		equal(t, got, want)
		equal(t, ok, want != 0)
	}
}
