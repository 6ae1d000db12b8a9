package fsm

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// fieldsFile names the fields that a command of version 1 may have, one a line: a
// program of version 1 passes over all others. It does not change any more.
const fieldsFile = "testdata/v1.fields"

// What the file does not name, a command has only from a later version on.
func TestNewFieldsNeedANewVersion(t *testing.T) {
	file, err := os.ReadFile(fieldsFile)
	check(t, err)
	first := map[string]bool{}
	for name := range strings.Lines(string(file)) {
		first[strings.TrimSpace(name)] = true
	}
	seen := map[protoreflect.FullName]bool{}
	// visit looks at the fields of a message that with makes part of a command.
	var visit func(m protoreflect.MessageDescriptor, with func(protoreflect.Message) *pb.Command)
	visit = func(m protoreflect.MessageDescriptor, with func(protoreflect.Message) *pb.Command) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			// holding puts v, nil for anything, into the field of a new message.
			holding := func(v protoreflect.Message) *pb.Command {
				cmd := &pb.Command{}
				if m == cmd.ProtoReflect().Descriptor() {
					fill(t, cmd.ProtoReflect(), f, v)
					return cmd
				}
				in := newMessage(t, m)
				fill(t, in, f, v)
				return with(in)
			}
			seen[f.FullName()] = true
			if !first[string(f.FullName())] {
				if cmd := holding(nil); Needs(cmd) < 2 {
					t.Errorf("%s is not of version 1: Needs must say so of %v", f.FullName(), cmd)
				}
			}
			if f.Message() != nil && !f.IsMap() {
				visit(f.Message(), holding)
			}
		}
	}
	visit((&pb.Command{}).ProtoReflect().Descriptor(), nil)
	for name := range first {
		if !seen[protoreflect.FullName(name)] {
			t.Errorf("%s is of version 1 and has gone", name)
		}
	}
}

// fill puts into the field v, or where that is nil anything.
func fill(t *testing.T, in protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Message) {
	t.Helper()
	var value protoreflect.Value
	switch {
	case f.IsMap():
		in.Mutable(f).Map().Set(protoreflect.ValueOfString("x").MapKey(), protoreflect.ValueOfUint64(1))
		return
	case f.Message() != nil && v == nil:
		value = protoreflect.ValueOfMessage(newMessage(t, f.Message()))
	case f.Message() != nil:
		value = protoreflect.ValueOfMessage(v)
	case f.Enum() != nil:
		value = protoreflect.ValueOfEnum(1)
	default:
		value = map[protoreflect.Kind]protoreflect.Value{
			protoreflect.BoolKind: protoreflect.ValueOfBool(true), protoreflect.StringKind: protoreflect.ValueOfString("x"),
			protoreflect.BytesKind: protoreflect.ValueOfBytes([]byte("x")), protoreflect.Uint32Kind: protoreflect.ValueOfUint32(1),
			protoreflect.Uint64Kind: protoreflect.ValueOfUint64(1), protoreflect.Fixed64Kind: protoreflect.ValueOfUint64(1),
			protoreflect.Int64Kind: protoreflect.ValueOfInt64(1),
		}[f.Kind()]
	}
	if f.IsList() {
		in.Mutable(f).List().Append(value)
		return
	}
	in.Set(f, value)
}

func newMessage(t *testing.T, m protoreflect.MessageDescriptor) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
	check(t, err)
	return kind.New()
}

func raise(to uint32) *pb.Command { return cmd(&pb.RaiseVersion{Version: to}) }

// The cluster uses the version that it was told, which never falls; a restart and
// a snapshot keep it.
func TestRaiseVersion(t *testing.T) {
	d := newDriver(t)
	equal(t, d.m.Version(), uint32(1))
	for _, refused := range []*pb.Entry{
		{Version: 1, Commands: []*pb.Command{raise(2)}},
		{Version: 2, Commands: []*pb.Command{raise(3)}},
		{Version: 2, Commands: []*pb.Command{raise(2), generate(digits, 1)}},
	} {
		d.index++
		results, err := d.m.Apply([]LogEntry{encodeEntry(d.index, d.term, refused)})
		check(t, err)
		equal(t, results[0][0].Code, pb.Code_INVALID)
		equal(t, d.m.Version(), uint32(1))
	}
	for _, to := range []uint32{2, 1, 0} {
		equal(t, d.apply(raise(to))[0].Code, pb.Code_OK)
		equal(t, d.m.Version(), uint32(2))
	}
	d.reopen()
	equal(t, d.m.Version(), uint32(2))
}

// A state that a newer program has changed is left alone by an older one.
func TestAnOlderProgramLeavesANewerState(t *testing.T) {
	d := newDriver(t)
	state := proto.CloneOf(d.m.state)
	state.Version = Version + 1
	b := d.m.db.NewBatch()
	b.Put(store.Meta, stateRow, must(proto.Marshal(state)))
	d.index++
	b.EndEntry(d.index, d.term)
	check(t, b.Commit())
	b.Close()
	if _, err := New(d.m.db); !errors.Is(err, store.ErrVersion) {
		t.Errorf("a state of version %d: %v", Version+1, err)
	}
}

// A backup of what this cluster does not use yet is refused, and one that this
// program does not know cannot be read.
func TestBackupOfANewerVersion(t *testing.T) {
	source := newDriver(t)
	source.apply(raise(2))
	file := source.backup()
	equal(t, must(InspectBackup(bytes.NewReader(file))).Version, uint32(2))
	for _, part := range []*pb.StageBackup{{Data: file}, {Part: 1, Data: file}, {Data: newDriver(t).backup()}} {
		want := uint32(1)
		if part.Part == 0 && bytes.Equal(part.Data, file) {
			want = 2
		}
		equal(t, Needs(cmd(part)), want)
	}

	d := newDriver(t)
	if err := d.m.MayRestore(must(InspectBackup(bytes.NewReader(file))), Floors{Others: 1}); !errors.Is(err, ErrRestoreRefused) {
		t.Errorf("beforehand: %v", err)
	}
	equal(t, d.restore(file, 1).Code, pb.Code_RESTORE_REFUSED)
	d.apply(raise(2))
	equal(t, d.restore(file, 1).Code, pb.Code_OK)
	equal(t, d.m.Version(), uint32(2))

	source.m.state.Version = Version + 1
	source.apply(generate(digits, 1))
	if _, err := InspectBackup(bytes.NewReader(source.backup())); !errors.Is(err, ErrBackup) {
		t.Errorf("a backup of version %d: %v", Version+1, err)
	}
}
