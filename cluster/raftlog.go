package cluster

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger makes raft's log fit ours: raft tells each step of its protocol
// and, while a node is away, the same error several times a second. An admin
// needs neither: what raft calls an error is a warning here, at most once a
// minute for each message, and the rest is for debugging.
type raftLogger struct {
	hclog.Logger
	said *saidOnce
	quit <-chan struct{} // closed when the node stops: connections break then
}

// saidOnce remembers when each message was logged last. Raft has a fixed set of
// messages, so it is bounded.
type saidOnce struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const raftErrorEvery = time.Minute

func newRaftLogger(l hclog.Logger, quit <-chan struct{}) raftLogger {
	return raftLogger{l.Named("raft"), &saidOnce{last: map[string]time.Time{}}, quit}
}

func (l raftLogger) Error(msg string, args ...any) {
	if strings.HasPrefix(msg, "peer has newer term") { // each transfer does that
		l.Debug(msg, args...)
		return
	}
	select {
	case <-l.quit:
		l.Debug(msg, args...)
		return
	default:
	}
	if l.said.due(msg) {
		l.Logger.Warn(msg, args...)
	} else {
		l.Debug(msg, args...)
	}
}

func (s *saidOnce) due(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last[msg]) < raftErrorEvery {
		return false
	}
	s.last[msg] = time.Now()
	return true
}

func (l raftLogger) Warn(msg string, args ...any) { l.Debug(msg, args...) }
func (l raftLogger) Info(msg string, args ...any) { l.Debug(msg, args...) }

func (l raftLogger) Named(name string) hclog.Logger {
	return raftLogger{l.Logger.Named(name), l.said, l.quit}
}
func (l raftLogger) With(args ...any) hclog.Logger {
	return raftLogger{l.Logger.With(args...), l.said, l.quit}
}
func (l raftLogger) ResetNamed(name string) hclog.Logger {
	return raftLogger{l.Logger.ResetNamed(name), l.said, l.quit}
}
