package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

const oracleRestore = "P1 a restore burns what came after the backup"

// noBackup says why backups cannot be made.
func noBackup(r *run) string {
	if err := command(proc.Binary(r.tb), "snapshot", "save", "--help"); err != nil {
		return "this version has no command for backups"
	}
	return ""
}

// restoreBackup makes a backup, lets traffic go on, and restores the backup
// into the running cluster, sometimes while the leader is killed. Links stand
// still at the two moments, so that it is known which of them are in the
// backup; keys are taken all the while, and none may ever come again.
func restoreBackup(r *run) []*proc.Node {
	file := filepath.Join(r.cluster.Dir, fmt.Sprintf("backup-%d", r.struck["backup and restore"]))
	defer os.Remove(file)
	r.load.still.Lock()
	r.probes.Wait()
	err := r.snapshot("save", file)
	then := r.ledger.snapshot()
	r.load.still.Unlock()
	if err != nil {
		r.violatef(oracleReply, "backup: %v", err)
		return nil
	}
	r.pause(r.between(time.Second, r.longest(10*time.Second)))
	lost := []*link{r.newLink(""), r.newLink(filepath.Base(file))}
	r.load.still.Lock()
	defer r.load.still.Unlock()
	r.probes.Wait()
	r.restore(file)
	r.restores++
	r.load.epoch.Add(1)
	r.ledger.rollBack(then)
	r.heal()
	r.checkBurned(lost)
	return nil
}

// restoreTries bounds how often a restore is tried that was disturbed.
const restoreTries = 3

// restore does it again if its outcome is not known: twice does no harm.
func (r *run) restore(file string) {
	r.tb.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.snapshot("restore", file) }()
	if r.random.IntN(3) == 0 {
		leader := r.leader()
		r.pause(r.between(0, 50*time.Millisecond))
		r.deaths++
		leader.Kill()
		defer leader.Start()
		r.logf("%s was killed during the restore", leader.ID)
	}
	err := <-ended
	for try := 1; err != nil && try < restoreTries; try++ {
		r.logf("once more: %v", err)
		err = r.snapshot("restore", file)
	}
	if err != nil {
		r.breakOff(oracleReply, "restore: %v", err)
	}
}

// snapshot runs kgs snapshot, as an admin does.
func (r *run) snapshot(what, file string) error {
	cmd := exec.Command(proc.Binary(r.tb), "snapshot", what, file, "--addr", strings.Join(r.cluster.URLs(), ","))
	cmd.Env = append(os.Environ(), "NO_PROXY=*")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kgs snapshot %s: %w: %s", what, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// checkBurned: links that were made after the backup are gone, and their keys
// are not to be had any more.
func (r *run) checkBurned(lost []*link) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	api := r.api()
	defer api.Close()
	for _, l := range lost {
		r.checked(oracleRestore, 1)
		for _, claim := range []client.NewLink{{Alias: l.key}, {Key: l.key}} {
			claim.URL = "https://example.org/burned"
			if _, err := api.CreateLink(ctx, claim); err == nil || inTrouble(err) {
				r.violatef(oracleRestore, "%s, of a link made after the backup, was claimed again as %+v: %v", l.key, claim, err)
			}
		}
	}
}
