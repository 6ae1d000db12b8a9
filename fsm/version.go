package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// Version is the newest version of the command set that this package knows. A
// cluster uses the newest one that all its members know, as RaiseVersion says, so
// that nodes of two builds can be members of it: what a version brings is not
// proposed before, and changes nothing before. Versions:
//
//	1  the first
//	2  RaiseVersion; floors of key spaces in a restore and a recovery; key spaces that
//	   grow; links that forward queries; an index of URLs only once it is asked;
//	   case-insensitive key spaces
//
// A new command or field of a command, or a command with another effect, needs a
// new version, unless the newest one is in no release yet: it is named here and in
// Needs, and an effect that changes asks inUse. The text of a refusal is an effect,
// too: it is kept for a repeat of the request, so it enters the hash chain.
const Version = 2

// Needs returns the version of the command set that a command belongs to.
func Needs(cmd *pb.Command) uint32 {
	newer := false
	switch op := cmd.Op.(type) {
	case *pb.Command_RaiseVersion:
		return max(op.RaiseVersion.GetVersion(), 2)
	case *pb.Command_GrowKeyspace, *pb.Command_UpdateKeyspace:
		newer = true
	case *pb.Command_InitCluster:
		newer = slices.ContainsFunc(op.InitCluster.Keyspaces, newerKeyspace)
	case *pb.Command_CreateKeyspace:
		newer = newerKeyspace(op.CreateKeyspace.Keyspace)
	case *pb.Command_CreateLink:
		newer = op.CreateLink.GetLink().GetForwardQuery()
	case *pb.Command_UpdateLink:
		newer = op.UpdateLink.ForwardQuery != nil
	case *pb.Command_Lease:
		newer = op.Lease.LastLength
	case *pb.Command_Release:
		newer = slices.ContainsFunc(op.Release.Grants, func(g *pb.Grant) bool { return g.Space != 0 })
	case *pb.Command_StageBackup:
		return backupNeeds(op.StageBackup)
	case *pb.Command_RestoreBackup:
		newer = len(op.RestoreBackup.Floors) > 0 || op.RestoreBackup.Grow
	case *pb.Command_RecoverCluster:
		newer = len(op.RecoverCluster.Floors) > 0 || op.RecoverCluster.Grow
	}
	if newer {
		return 2
	}
	return 1
}

// backupNeeds is the version of the cluster that wrote a backup, as its first part
// says: a program of version 1 does not look at it, and would restore what others
// refuse.
func backupNeeds(part *pb.StageBackup) uint32 {
	if part.GetPart() == 0 {
		if header, err := InspectBackup(bytes.NewReader(part.GetData())); err == nil {
			return max(header.Version, 1)
		}
	}
	return 1
}

func newerKeyspace(row *pb.Keyspace) bool {
	return row != nil && (row.Grow != nil || row.CaseInsensitive)
}

// Version is the version of the command set that the cluster uses. It is for
// readers: a command sees inUse of its machine's state.
func (m *Machine) Version() uint32 { return m.version.Load() }

func inUse(state *pb.ClusterState) uint32 { return max(state.Version, 1) }

func (m *Machine) raiseVersion(op *pb.RaiseVersion) *pb.Result {
	if !m.entry.alone || op.Version > m.entry.version {
		return refuse(pb.Code_INVALID, "version %d in an entry of version %d", op.Version, m.entry.version)
	}
	m.use(op.Version)
	m.unpublished = true
	return &pb.Result{}
}

// use has the commands of a version in use, if it is newer than that which is.
func (m *Machine) use(version uint32) {
	if inUse(m.state) < 2 && version >= 2 {
		m.state.UrlsIndexed = m.state.Links > 0 // version 1 had them indexed
	}
	m.state.Version = max(m.state.Version, version)
}

// checkVersion refuses a state that this program would change otherwise than the
// programs that share it.
func checkVersion(state *pb.ClusterState) error {
	if state.Version > Version {
		return fmt.Errorf("commands of version %d, this program knows %d: %w", state.Version, Version, store.ErrVersion)
	}
	return nil
}
