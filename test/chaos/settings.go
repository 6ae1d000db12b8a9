package chaos

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// settings of a run, from the environment.
type settings struct {
	duration time.Duration  // KGS_CHAOS_DURATION: of the disturbance; a few seconds before and after are not in it
	seed     uint64         // KGS_CHAOS_SEED: of the order of faults
	class    *regexp.Regexp // KGS_CHAOS_CLASS: only the classes that match
}

func readSettings(duration time.Duration) (settings, error) {
	s := settings{duration: duration, seed: uint64(time.Now().UnixNano())}
	var err error
	if text := os.Getenv("KGS_CHAOS_DURATION"); text != "" {
		if s.duration, err = time.ParseDuration(text); err != nil {
			return s, fmt.Errorf("KGS_CHAOS_DURATION: %w", err)
		}
	}
	if text := os.Getenv("KGS_CHAOS_SEED"); text != "" {
		if s.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return s, fmt.Errorf("KGS_CHAOS_SEED: %w", err)
		}
	}
	if s.class, err = regexp.Compile(os.Getenv("KGS_CHAOS_CLASS")); err != nil {
		return s, fmt.Errorf("KGS_CHAOS_CLASS: %w", err)
	}
	return s, nil
}
