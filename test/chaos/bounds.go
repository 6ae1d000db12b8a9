package chaos

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

const oracleBounds = "bounded resources"

// Generous limits of one node at the end of a run: what grows without end
// passes them.
const (
	maxGoroutines = 500
	maxFiles      = 500
	maxRSS        = 1 << 30
	maxDisk       = 1 << 30
)

// checkBounds looks at what each node uses once its clients are gone.
func (r *run) checkBounds() {
	for _, n := range r.cluster.Nodes {
		m, err := readMetrics(n)
		if err != nil {
			r.violatef(oracleBounds, "%s: %v", n.ID, err)
			continue
		}
		files := m["process_open_fds"]
		if open, err := os.ReadDir("/proc/" + strconv.Itoa(n.Pid()) + "/fd"); err == nil {
			files = float64(len(open))
		}
		for _, bound := range []struct {
			what        string
			value, most float64
		}{
			{"goroutines", m["go_goroutines"], maxGoroutines},
			{"open files", files, maxFiles},
			{"bytes of memory", m["process_resident_memory_bytes"], maxRSS},
			{"bytes on disk", float64(bytesIn(n.Dir)), maxDisk},
		} {
			r.checked(oracleBounds, 1)
			r.usage[bound.what] = max(r.usage[bound.what], bound.value)
			if bound.value > bound.most {
				r.violatef(oracleBounds, "%s has %.0f %s, at most %.0f are allowed", n.ID, bound.value, bound.what, bound.most)
			}
		}
	}
}

// bytesIn adds up the sizes of the files below a directory, which may change
// meanwhile.
func bytesIn(dir string) (total int64) {
	filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}
