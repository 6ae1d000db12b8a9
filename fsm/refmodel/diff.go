package refmodel

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Diff names the first thing in which two states differ, nil if in nothing.
func Diff(got, want *Model) error {
	if err := differ("cluster state", got.State, want.State); err != nil {
		return err
	}
	if len(got.Spaces) != len(want.Spaces) {
		return fmt.Errorf("%d key spaces, want %d", len(got.Spaces), len(want.Spaces))
	}
	for i := range got.Spaces {
		if err := diffSpace(got.Spaces[i], want.Spaces[i]); err != nil {
			return err
		}
	}
	if err := diffRows("link", got.Links, want.Links); err != nil {
		return err
	}
	if err := diffRows("visits of link", got.Visits, want.Visits); err != nil {
		return err
	}
	if err := diffRows("node", got.Nodes, want.Nodes); err != nil {
		return err
	}
	if err := diffRows("token", got.Tokens, want.Tokens); err != nil {
		return err
	}
	if (got.Staged == nil) != (want.Staged == nil) || got.Staged != nil &&
		(!proto.Equal(got.Staged.Row, want.Staged.Row) || !bytes.Equal(got.Staged.Data, want.Staged.Data)) {
		return fmt.Errorf("staged %v, want %v", got.Staged, want.Staged)
	}
	return diffRequests(got, want)
}

func differ(what string, got, want proto.Message) error {
	if proto.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%s: %v, want %v", what, got, want)
}

func diffRows[K comparable, M proto.Message](what string, got, want map[K]M) error {
	for key := range want {
		if err := differ(fmt.Sprintf("%s %v", what, key), got[key], want[key]); err != nil {
			return err
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d rows of %s, want %d", len(got), what, len(want))
	}
	return nil
}

func diffSpace(got, want *Space) error {
	if err := differ("key space", got.Row, want.Row); err != nil {
		return err
	}
	if !slices.Equal(got.returned, want.returned) {
		return fmt.Errorf("%s: in quarantine %v, want %v", want.Row.Name, got.returned, want.returned)
	}
	var same [2]*pb.Used // compared before: neighbours mostly share their row
	check := func(pos uint64) error {
		pair := [2]*pb.Used{got.Used(pos), want.Used(pos)}
		if pair == same || proto.Equal(pair[0], pair[1]) {
			same = pair
			return nil
		}
		return fmt.Errorf("%s: position %d is used as %v, want %v", want.Row.Name, pos, pair[0], pair[1])
	}
	for pos := range uint64(max(len(got.near), len(want.near))) {
		if err := check(pos); err != nil {
			return err
		}
	}
	far := maps.Clone(got.far)
	maps.Copy(far, want.far)
	for pos := range far {
		if err := check(pos); err != nil {
			return err
		}
	}
	return nil
}

func diffRequests(got, want *Model) error {
	if len(got.Sessions) != len(want.Sessions) {
		return fmt.Errorf("%d sessions, want %d", len(got.Sessions), len(want.Sessions))
	}
	for id, w := range want.Sessions {
		g := got.Sessions[id]
		if g == nil {
			return fmt.Errorf("no session %x", id)
		}
		if err := differ(fmt.Sprintf("session %x", id), g.Row, w.Row); err != nil {
			return err
		}
		if err := diffRows(fmt.Sprintf("result of session %x", id), g.Results, w.Results); err != nil {
			return err
		}
		if err := diffRows(fmt.Sprintf("link created by session %x", id), g.Created, w.Created); err != nil {
			return err
		}
	}
	if !slices.Equal(got.expiring, want.expiring) {
		return fmt.Errorf("idempotency records %v, want %v", got.expiring, want.expiring)
	}
	for key, w := range want.Records {
		g := got.Records[key]
		if g.Print != w.Print || g.Session != w.Session || g.Seq != w.Seq || !proto.Equal(g.Result, w.Result) {
			return fmt.Errorf("idempotency record %q: %v, want %v", key, *g, *w)
		}
	}
	return nil
}
