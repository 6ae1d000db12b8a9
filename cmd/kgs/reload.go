package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
)

// onHangup calls act at each SIGHUP until ctx ends. To a node it is no end, as
// it is to the other commands: main's own handling is taken off. The signal stays
// ours after ctx has ended: it must not cut the shutdown short.
func onHangup(ctx context.Context, act func()) {
	signal.Reset(syscall.SIGHUP)
	hangups := make(chan os.Signal, 1) // one that waits stands for all that came since
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				act()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// reloader reads the settings of a running node again. The command line and the
// environment of a process stay as they are, so what may differ is the file.
type reloader struct {
	given   []*pflag.Flag     // those of the command line
	running map[string]string // the value in force, by flag
	log     hclog.Logger
}

// newReloader is to be called with the flags that the node was started with.
func newReloader(flags *pflag.FlagSet, from sources, log hclog.Logger) *reloader {
	r := &reloader{running: map[string]string{}, log: log}
	flags.VisitAll(func(flag *pflag.Flag) {
		r.running[flag.Name] = flagText(flag)
		if from[flag.Name] == fromFlag {
			r.given = append(r.given, flag)
		}
	})
	return r
}

// reload applies what can change while the node runs and names what cannot.
// Faulty settings change nothing.
func (r *reloader) reload() {
	next, flags, err := r.read()
	if err != nil {
		r.log.Error("the settings stay as they were", "reason", oneLine(err))
		return
	}
	var applied, restart []string
	flags.VisitAll(func(flag *pflag.Flag) {
		text := flagText(flag)
		switch {
		case text == r.running[flag.Name]:
		case flag.Name == "log-level":
			r.log.SetLevel(hclog.LevelFromString(next.logLevel))
			r.running[flag.Name] = text
			applied = append(applied, flag.Name)
		default:
			restart = append(restart, flag.Name)
		}
	})
	if len(applied) > 0 {
		r.log.Info("settings applied", "settings", strings.Join(applied, ","))
	}
	if len(restart) > 0 {
		r.log.Warn("settings that differ need a restart", "settings", strings.Join(restart, ","))
	}
	if len(applied)+len(restart) == 0 {
		r.log.Info("settings read again, none differs")
	}
}

// read finds the settings as a start would, and checks them.
func (r *reloader) read() (*serveFlags, *pflag.FlagSet, error) {
	f := &serveFlags{}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.register(flags)
	for _, flag := range r.given {
		if err := flags.Set(flag.Name, flagText(flag)); err != nil {
			return nil, nil, err
		}
	}
	if _, err := applySettings(flags); err != nil {
		return nil, nil, err
	}
	_, err := f.cluster()
	return f, flags, err
}
