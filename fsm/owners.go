package fsm

import (
	"bytes"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// Who creates a link with a token owns it, with all that have a token of the same
// name: so a token can be replaced by another one. Others, but admins, may not
// change or delete it. What was made without a token is anybody's.

// mayChange refuses what is somebody else's.
func mayChange(owner, as string) *pb.Result {
	if as != "" && owner != "" && owner != as {
		return refuse(pb.Code_NOT_OWNER, "it belongs to %s", owner)
	}
	return nil
}

func (m *Machine) loadOwners() error {
	m.owners, m.dirtyOwners = map[string]uint64{}, nil
	return scanRows(m.db, store.Owners, func(name []byte, row *pb.Owner) error {
		m.owners[string(name)] = row.Links
		return nil
	})
}

// own counts a link of an owner, or with -1 one less.
func (m *Machine) own(owner string, links int) {
	if owner != "" {
		m.owners[owner] += uint64(links)
		m.dirtyOwners = append(m.dirtyOwners, owner)
	}
}

func (m *Machine) writeOwners() {
	for i, owner := range m.dirtyOwners {
		if i > 0 && owner == m.dirtyOwners[i-1] {
			continue // as it mostly is
		}
		if links := m.owners[owner]; links > 0 {
			m.put(store.Owners, []byte(owner), &pb.Owner{Links: links})
		} else {
			m.batch.Delete(store.Owners, []byte(owner))
			delete(m.owners, owner)
		}
	}
	m.dirtyOwners = m.dirtyOwners[:0]
}

// ownedSecret is what an owner's receipts are sealed with: the receipt that
// another one lost or showed is of no use to him.
func ownedSecret(secret []byte, owner string) []byte {
	if owner == "" || len(secret) == 0 {
		return secret
	}
	return bytes.Join([][]byte{secret, []byte(owner)}, []byte{0})
}

// SealFor is Seal for an owner; "" is nobody.
func (r Receipt) SealFor(owner string, dst, secret []byte) []byte {
	return r.Seal(dst, ownedSecret(secret, owner))
}

// openReceiptOf opens a receipt of an owner, or of nobody.
func openReceiptOf(owner string, secret, sealed []byte) (Receipt, error) {
	r, err := OpenReceipt(ownedSecret(secret, owner), sealed)
	if err != nil && owner != "" {
		r, err = OpenReceipt(secret, sealed)
	}
	return r, err
}
