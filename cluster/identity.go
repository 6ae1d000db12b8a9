package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// identityFile says whose data directory it is. It is written before anything
// else, so that a directory can neither change hands nor be shared.
const identityFile = "node.json"

// identity is the content of the file.
type identity struct {
	mu   sync.Mutex
	fs   vfs.FS
	dir  string
	lock io.Closer

	Node    string `json:"node"`
	Disk    string `json:"disk"`              // random, drawn with the directory
	Cluster string `json:"cluster,omitempty"` // once known

	// Replaces is the damaged directory that the cluster is to replace by this
	// one; see rejoin.go.
	Replaces string `json:"replaces,omitempty"`
}

// openIdentity locks the data directory and reads, or draws, its identity.
func openIdentity(fs vfs.FS, dir, node string) (*identity, error) {
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("data directory: %w; create it, or name another", err)
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return nil, err
	}
	id := &identity{fs: fs, dir: dir, lock: lock}
	if err := id.load(node); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return id, nil
}

func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	lock, err := fs.Lock(filepath.Join(dir, "LOCK"))
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		return nil, fmt.Errorf("data directory is not writable: %w; give it to the user that runs kgs, or name another", err)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s is in use by another process; stop that one, or name another", dir)
	}
	return lock, nil
}

func (id *identity) load(node string) error {
	data, err := readFile(id.fs, filepath.Join(id.dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		id.Node, id.Disk = node, randomID()
		return id.save()
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := json.Unmarshal(data, id); err != nil || id.Node == "" || id.Disk == "" {
		return fmt.Errorf("%s is damaged (%v); remove this node from the cluster, empty its data directory and join it again",
			filepath.Join(id.dir, identityFile), err)
	}
	if id.Node != node {
		return fmt.Errorf("data directory %s belongs to node %q, this node is %q: correct the node id or the directory", id.dir, id.Node, node)
	}
	return nil
}

// save writes the file so that a crash leaves the old or the new one.
func (id *identity) save() error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(id.fs, filepath.Join(id.dir, identityFile), append(data, '\n'))
}

// self is what the node says of itself on connections.
func (id *identity) self() Identity {
	id.mu.Lock()
	defer id.mu.Unlock()
	return Identity{ClusterID: id.Cluster, NodeID: id.Node, DiskID: id.Disk}
}

// adopt notes the cluster that the node belongs to.
func (id *identity) adopt(cluster string) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.Cluster == cluster {
		return nil
	}
	if id.Cluster != "" {
		return fmt.Errorf("%w: this data directory belongs to %s, not to %s", ErrWrongCluster, id.Cluster, cluster)
	}
	id.Cluster = cluster
	return id.save()
}

func (id *identity) close() error { return id.lock.Close() }

func randomID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
