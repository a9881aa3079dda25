//go:build unix

package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
)

// refused starts a replica that cannot start, and returns why.
func (c *cluster) refused(s spec) error {
	c.t.Helper()
	p, err := launch(s, c.logPath(s.Name))
	if err != nil {
		c.t.Fatal(err)
	}
	p.invited.Store(true)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	err = p.started(ctx)
	if err == nil {
		c.t.Errorf("%+v has started", s)
	}
	if e := p.close(patience / 2); e != nil {
		c.t.Error(e)
	}
	if code := p.cmd.ProcessState.ExitCode(); err != nil && code != 1 {
		c.t.Errorf("%+v: %v", s, p.cmd.ProcessState)
	}
	return err
}

// tells fails the test unless err has all the words.
func (c *cluster) tells(err error, words ...string) {
	c.t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			c.t.Errorf("the error is %v; it does not tell %q", err, w)
		}
	}
}

// works fails the test unless what is written on each of the replicas is read on all.
func (c *cluster) works(names ...string) {
	c.t.Helper()
	for _, by := range names {
		rev := c.must(by, check.Op{Kind: check.Set, Key: "works", Value: by}).Revision
		for _, name := range names {
			if r := c.must(name, check.Op{Kind: check.Get, Key: "works"}); r.Value != by || r.Revision != rev {
				c.t.Errorf("%s wrote %q@%d, %s reads %q@%d", by, by, rev, name, r.Value, r.Revision)
			}
		}
	}
}

// TestTwoProcessesOneDirectory: the second process that is given a directory is
// refused and told who has it; the first goes on, and its directory is as it was.
func TestTwoProcessesOneDirectory(t *testing.T) {
	c := found(t, "alpha")
	c.works("alpha")
	first := fmt.Sprint("process ", c.at("alpha").cmd.Process.Pid)
	stranger := prepare(t, "zulu")
	for what, s := range map[string]spec{
		"the same replica again": c.spec("alpha"),
		"another replica":        {Name: "zulu", PeersPath: stranger.peersPath(), Dir: c.replicaDir("alpha")},
	} {
		t.Log(what)
		c.tells(c.refused(s), c.replicaDir("alpha"), first)
		c.works("alpha")
	}
	// The lock dies with its holder, however that dies, and whoever waited can start.
	c.kill("alpha")
	c.start("alpha")
	c.ready()
	if r := c.must("alpha", check.Op{Kind: check.Get, Key: "works"}); r.Value != "alpha" {
		t.Errorf("after a restart the key is %q", r.Value)
	}
}

// TestUnusableDirectory: a replica whose directory is a file, or may not be written,
// does not start, and says which one it is.
func TestUnusableDirectory(t *testing.T) {
	c := prepare(t, "alpha")
	s := c.spec("alpha")
	if err := os.WriteFile(s.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.tells(c.refused(s), s.Dir, "not a directory", "Config.Dir")

	s.Dir = filepath.Join(c.dir, "read-only")
	if err := os.Mkdir(s.Dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may write everywhere
		s.UID = nobody
		c.open()
	}
	c.tells(c.refused(s), s.Dir, "permission denied", "Config.Dir")
}

// nobody is a user without rights.
const nobody = 65534

// open lets every user read the cluster's files, and takes away the key, which must be
// its owner's alone. It skips the test if that does not help.
func (c *cluster) open() {
	c.t.Helper()
	if err := os.Remove(filepath.Join(c.dir, "key")); err != nil {
		c.t.Fatal(err)
	}
	for _, dir := range []string{c.dir, filepath.Dir(c.dir)} { // testing has made both
		if err := os.Chmod(dir, 0o755); err != nil {
			c.t.Fatal(err)
		}
	}
	for dir := filepath.Dir(c.dir); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			c.t.Skipf("SKIPPED: run as root, and no other user can enter %s: nobody can be refused below it", dir)
		}
	}
}

// TestDamagedLog turns one bit in the log of a replica that is down: it comes back
// to gossip, stays out of agreement, and says so in its status and in every call. The
// others go on (S3, S4).
func TestDamagedLog(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	for i := range 200 {
		c.must("alpha", check.Op{Kind: check.Set, Key: fmt.Sprint("k", i), Value: strings.Repeat("x", 600)})
	}
	c.kill("charlie")
	c.damage(filepath.Join(c.replicaDir("charlie"), "log"))
	for range 2 { // and it does not think better of it at the next start
		c.start("charlie")
		c.await("charlie to say that it has lost its state", func() bool {
			s, ok := c.status("charlie")
			return ok && s.Agreement.State == "lost"
		})
		s, _ := c.status("charlie")
		c.tells(errors.New(s.Agreement.Problem), "lost its state", c.replicaDir("charlie"))
		c.tells(errors.New(strings.Join(s.Problems, "\n")), "out of agreement", c.replicaDir("charlie"))
		c.lost("charlie")
		c.works("alpha", "bravo")
		c.kill("charlie")
	}
	c.works("alpha", "bravo")
}

// damage turns a bit in the middle of the newest part of the log.
func (c *cluster) damage(dir string) {
	c.t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(segments) == 0 {
		c.t.Fatalf("no log in %s: %v", dir, err)
	}
	for _, path := range segments {
		text, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		used := len(bytes.TrimRight(text, "\x00"))
		if used < 16<<10 {
			continue // prepared, and not begun
		}
		text[used/2] ^= 0x10
		if err := os.WriteFile(path, text, 0o600); err != nil {
			c.t.Fatal(err)
		}
		c.t.Logf("damaged %s, of which %d bytes are in use, at %d", path, used, used/2)
		return
	}
	c.t.Fatalf("no part of the log in %s is in use", dir)
}

// lost fails the test unless the replica refuses every call, and tells why.
func (c *cluster) lost(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	set := check.Op{Kind: check.Set, Key: "works", Value: name}
	for _, op := range []check.Op{
		{Kind: check.Get, Key: "works"}, {Kind: check.List}, set, {Kind: check.Delete, Key: "works"},
		{Kind: check.DeletePrefix, Key: "w"}, {Kind: check.Txn, Then: []check.Op{set}},
	} {
		if r := c.client(name).Do(ctx, op); r.Outcome != outcome.NotDone || !errors.Is(r.Err, kith.ErrStateLost) {
			c.t.Errorf("%s on %s: %v, %v", op, name, r.Outcome, r.Err)
		}
	}
	for _, q := range []request{{Ready: true}, {Watch: &watchFrom{}}} {
		_, _, err := c.at(name).ask(ctx, q, func(e check.Event) { c.t.Errorf("%s tells %s", name, e) })
		if !errors.Is(err, kith.ErrStateLost) {
			c.t.Errorf("%+v on %s: %v", q, name, err)
		}
	}
}
