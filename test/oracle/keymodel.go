package oracle

// phase is where a name stands, as far as clients can know.
type phase uint8

const (
	free     phase = iota // given to nobody; a key may still be used, in a leader's buffer
	leased                // taken by somebody, or given back and taken anew
	returned              // resting, or unused again
	bound                 // names a link
	deleted               // named one
)

var phases = [...]string{"free", "leased", "returned", "bound", "deleted"}

// keyState is the sequential model of one name.
type keyState struct {
	phase   phase
	receipt string // of the lease
	alias   bool   // bound as an alias, or burned: not a key that was leased
	url     string
	logged  int // steps so far whose place in the log is known
	saved   *savedState
}

// savedState is what a backup holds of the name, and those before it.
type savedState struct {
	file   string
	state  keyState
	before *savedState
}

// step is a request about one name. Those whose place in the log is known come
// in its order: so many have a lower index. Backups come after the changes of
// the index whose state they hold.
type step struct {
	*effect
	lower int
}

func (s keyState) String() string {
	if s.phase == bound {
		return "bound to " + s.url
	}
	return phases[s.phase]
}

func (s keyState) binds(alias bool, url string) keyState {
	return keyState{phase: bound, alias: alias, url: url}
}

// apply is one step of the model: false if the request cannot have seen in this
// state what it saw. A request of unknown outcome fits in any state; where it
// cannot have its effect, it has none.
func (s keyState) apply(e step, isKey bool) (ok bool, next keyState) {
	if e.Index != 0 && s.logged < e.lower {
		return false, s
	}
	switch e.Outcome {
	case OK:
		ok, next = s.accepts(e.effect)
	case Refused:
		ok, next = s.refuses(e.effect, isKey), s
	default:
		if ok, next = s.accepts(e.effect); !ok {
			ok, next = true, s
		}
	}
	if next.logged = s.logged; e.Index != 0 {
		next.logged++
	}
	if next.saved = s.saved; e.Kind == Backup {
		next.saved = &savedState{e.File, s, s.saved}
	}
	return ok, next
}

// restored is the state after a restore: the backup's link; else, if anything has
// ever been done with the name, it is burned, as if a link had been deleted. No
// key can be bound or returned that was taken before.
func (s keyState) restored(file string) (bool, keyState) {
	for b := s.saved; b != nil; b = b.before {
		switch {
		case b.file != file:
		case b.state.phase == bound:
			return true, s.binds(true, b.state.url)
		case b.state.phase == free && s.phase == free:
			return true, s
		default:
			return true, keyState{phase: deleted, alias: true}
		}
	}
	return false, s
}

func (s keyState) accepts(e *effect) (bool, keyState) {
	fresh := s.phase == free || s.phase == returned
	switch e.Kind {
	case Take:
		return fresh, keyState{phase: leased, receipt: e.GotReceipt}
	case Create:
		if e.TakenKey != "" {
			return s.phase == leased, s.binds(false, e.URL)
		}
		return fresh, s.binds(e.Alias != "", e.URL)
	case Get, Redirect:
		return s.phase == bound && s.url == e.GotURL, s
	case Update:
		return s.phase == bound, s.binds(s.alias, e.URL)
	case Delete:
		return s.phase == bound, keyState{phase: deleted, alias: s.alias}
	case Backup:
		return true, s
	case Restore:
		return s.restored(e.File)
	default: // Return
		return s.phase == leased && s.receipt == e.Receipt, keyState{phase: returned}
	}
}

// refuses: the verdict is right in this state.
func (s keyState) refuses(e *effect, isKey bool) bool {
	linked := s.phase == bound || s.phase == deleted
	switch e.Code {
	case "alias_taken":
		return s.phase != free || isKey
	case "key_not_taken":
		return !(s.phase == leased || linked && !s.alias)
	case "key_bound":
		return linked && !s.alias
	case "not_returnable": // of several keys another one may be the reason
		return len(e.Keys) > 1 || s.phase != leased || s.receipt != e.Receipt
	default: // link_not_found
		return s.phase != bound
	}
}
