package kith_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kithtest/memnet"
	"github.com/kith-go/kith/kv"
)

// full makes a disk have no room for new files, until the function that it returns is
// called. What was set aside already can be written to, as on a real one.
func full(d *memdisk.Disk) (room func()) {
	d.OnOp(func(op memdisk.Op) error {
		if op.Kind == memdisk.Create {
			return &os.PathError{Op: "create", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})
	return func() { d.OnOp(nil) }
}

// bulk is a value of which a few fill a test's segment of the log.
func bulk() []byte {
	return bytes.Repeat(binary.NativeEndian.AppendUint64(nil, rand.Uint64()), 100<<10/8)
}

// A full disk makes a node wait and say so, whether it leads or follows. The others go
// on, and it catches up when there is room.
func TestDiskFull(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				victim := leader(t, c)
				if who == "follower" {
					victim = others(c, victim)[0]
				}
				writer := others(c, victim)[0]
				room := full(c.Disk(victim.Name()))
				want := make(map[string]string)
				for i := range 20 {
					key, value := fmt.Sprintf("bulk/%02d", i), string(bulk())
					set(t, writer, key, value)
					want[key] = value
				}
				troubled(t, c, victim, "no space left", "/"+victim.Name()+"/log", "waits")
				if took := latency(t, writer); took > time.Second {
					t.Errorf("with one disk full a write took %v", took)
				}
				if now := writer.Status().Agreement.Leader; now == victim.Name() || now == "" {
					t.Errorf("led by %q while %s cannot write", now, victim.Name())
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := victim.KV().Set(ctx, "late", nil)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "space") {
					t.Errorf("a write on the node with the full disk: %v", err)
				}
				// It may be killed as it waits, and comes back.
				if who == "follower" {
					c.Kill(victim.Name())
					room()
					victim = c.Restart(victim.Name())
				} else {
					room()
				}
				works(t, c)
				if got := contents(t, victim, "bulk/"); !maps.Equal(got, want) {
					t.Errorf("%s has %d of %d keys", victim.Name(), len(got), len(want))
				}
				c.Await("its problem to be over", func() bool { return victim.Status().Healthy() })
			})
		})
	}
}

// latency is how long a write takes.
func latency(t *testing.T, n *kith.Node) time.Duration {
	t.Helper()
	began := time.Now()
	set(t, n, "latency", "x")
	return time.Since(began)
}

// With every disk full nothing is written and nothing is lost; then all goes on.
func TestAllDisksFull(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		var rooms []func()
		for _, n := range c.Nodes() {
			rooms = append(rooms, full(c.Disk(n.Name())))
		}
		alpha := c.Node("alpha")
		acknowledged := make(map[string]string)
		for i := 0; ; i++ {
			key, value := fmt.Sprintf("bulk/%02d", i), string(bulk())
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := alpha.KV().Set(ctx, key, []byte(value))
			cancel()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) || kith.OutcomeOf(err) == kith.Done {
					t.Errorf("a write that finds no room: %v", err)
				}
				break
			}
			acknowledged[key] = value
			if i > 50 {
				t.Fatal("5 MB were written where there is no room")
			}
		}
		for _, n := range c.Nodes() {
			troubled(t, c, n, "no space")
		}
		for _, room := range rooms {
			room()
		}
		works(t, c)
		for _, n := range c.Nodes() {
			got := contents(t, n, "bulk/")
			for key, value := range acknowledged {
				if got[key] != value {
					t.Errorf("%s has lost %s, which was acknowledged", n.Name(), key)
				}
			}
		}
	})
}

// A node whose log cannot be synced is out of agreement for good, also after a
// restart, and says so; it gossips on, and the others go on without it (S3, S4).
func TestSyncFails(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			kithtest.Virtual(t, 3, kithtest.Options{}, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				victim := leader(t, c)
				if who == "follower" {
					victim = others(c, victim)[0]
				}
				left := others(c, victim)
				set(t, victim, "before", "x")
				session := ephemeral(t, victim, "mine")
				watched := make(chan error, 1)
				go func() {
					var last error
					for _, last = range victim.KV().Watch(t.Context(), "", 0) {
					}
					watched <- last
				}()
				time.Sleep(time.Second)
				var failed atomic.Bool
				c.Disk(victim.Name()).OnOp(func(op memdisk.Op) error {
					if op.Kind == memdisk.Sync && strings.HasSuffix(op.Path, ".wal") && failed.CompareAndSwap(false, true) {
						return syscall.EIO
					}
					return nil
				})
				if took := latency(t, left[0]); took > 3*time.Second {
					t.Errorf("the write that met the failing disk took %v", took)
				}
				says(t, "the watch", <-watched, kith.NotDone, kith.ErrStateLost, "input/output error")
				<-session.Done()
				out := func(n *kith.Node, words ...string) {
					t.Helper()
					troubled(t, c, n, append(words, "out of agreement")...)
					_, err := n.KV().Set(t.Context(), "k", []byte("on a bad disk"))
					says(t, "a write", err, kith.NotDone, kith.ErrStateLost)
					_, err = n.KV().Get(t.Context(), "before")
					says(t, "a read", err, kith.NotDone, kith.ErrStateLost)
					says(t, "ready", n.Ready(t.Context()), kith.NotDone, kith.ErrStateLost)
				}
				out(victim, "input/output error")
				c.AwaitAlive()
				c.Await("the key of its session to go", func() bool { return !exists(t, left[0], "mine") })
				for range 2 {
					c.Kill(victim.Name())
					victim = c.Restart(victim.Name())
					out(victim, "failed earlier", "input/output error")
					c.AwaitAlive()
				}
				// Two are left, and lose nothing when they lose power.
				set(t, left[0], "after", "y")
				for _, n := range left {
					c.PowerOff(n.Name())
				}
				for _, n := range left {
					c.Restart(n.Name())
				}
				for _, n := range others(c, victim) {
					if get(t, n, "before") != "x" || get(t, n, "after") != "y" {
						t.Errorf("%s has lost what was acknowledged", n.Name())
					}
				}
			})
		})
	}
}

// ephemeral writes a key that belongs to the session of n, and returns the session's
// context.
func ephemeral(t *testing.T, n *kith.Node, key string) context.Context {
	t.Helper()
	if _, err := n.KV().Set(t.Context(), key, nil, kv.Ephemeral()); err != nil {
		t.Fatal(err)
	}
	session, err := n.SessionContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// A state directory that cannot be written to is told at the start, with what to do.
func TestReadOnlyDirectory(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Absent: []string{"charlie"}}, func(t *testing.T, c *kithtest.Cluster) {
		readOnly := func(op memdisk.Op) error {
			if op.Kind.Changes() || op.Kind == memdisk.Lock {
				return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EROFS}
			}
			return nil
		}
		refused := func(what string) {
			t.Helper()
			c.Disk("charlie").OnOp(readOnly)
			_, err := c.TryStart("charlie")
			c.Disk("charlie").OnOp(nil)
			if !errors.Is(err, syscall.EROFS) {
				t.Fatalf("%s: started with %v", what, err)
			}
			for _, word := range []string{"state directory", "/charlie", "Config.Dir", "--dir"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q does not say %q", what, err, word)
				}
			}
		}
		refused("its first start")
		c.Restart("charlie")
		works(t, c)
		set(t, c.Node("charlie"), "k", "v")
		c.Kill("charlie")
		refused("a later start")
		if got := get(t, c.Restart("charlie"), "k"); got != "v" {
			t.Errorf("after all it reads %q", got)
		}
		works(t, c)
	})
}

// Two nodes with one directory: the second is refused and told who is there, and the
// first does not notice.
func TestTwoNodesOneDirectory(t *testing.T) {
	lonely(t)
	dir := filepath.Join(t.TempDir(), "state")
	first := start(t, kith.Config{Name: "alpha", Peers: onLoopback(t, "alpha"), Dir: dir})
	set(t, first, "k", "v")
	second, err := kith.Start(t.Context(), kith.Config{Name: "alpha", Peers: onLoopback(t, "alpha"), Dir: dir})
	if err == nil {
		second.Close()
		t.Fatal("a second node took the directory")
	}
	for _, word := range []string{dir, fmt.Sprintf("process %d", os.Getpid()), "stop that process", "Config.Dir"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	set(t, first, "k", "w")
	first.Close()
	again := start(t, kith.Config{Name: "alpha", Peers: onLoopback(t, "alpha"), Dir: dir})
	if got := get(t, again, "k"); got != "w" {
		t.Errorf("the next node reads %q", got)
	}
}

// A snapshot that does not arrive whole leaves what was there, and is sent again.
func TestSnapshotCutOff(t *testing.T) {
	type scene struct {
		c       *kithtest.Cluster
		sender  *kith.Node
		before  map[string]string // what charlie had
		holding func() map[string]string
	}
	for name, cut := range map[string]func(t *testing.T, s *scene){
		"receiver loses power": func(t *testing.T, s *scene) {
			s.c.PowerOff("charlie")
			s.c.Restart("charlie")
		},
		"receiver is killed": func(t *testing.T, s *scene) {
			s.c.Kill("charlie")
			s.c.Restart("charlie")
		},
		"sender loses power": func(t *testing.T, s *scene) {
			s.c.PowerOff(s.sender.Name())
			s.c.Restart(s.sender.Name())
		},
		"sender is killed": func(t *testing.T, s *scene) {
			s.c.Kill(s.sender.Name())
			s.c.Restart(s.sender.Name())
		},
		"connection is cut": func(t *testing.T, s *scene) {
			s.c.Partition([]string{"charlie"})
			time.Sleep(time.Minute) // both sides have given up
			if got := s.holding(); !maps.Equal(got, s.before) {
				t.Errorf("of half a snapshot charlie shows %d keys; it had %d", len(got), len(s.before))
			}
			s.c.Heal()
		},
		"receiver's disk fills up": func(t *testing.T, s *scene) {
			var failed atomic.Bool
			s.c.Disk("charlie").OnOp(func(op memdisk.Op) error {
				if op.Kind == memdisk.Write && strings.Contains(op.Path, "/snapshots/") && failed.CompareAndSwap(false, true) {
					return syscall.ENOSPC
				}
				return nil
			})
			s.c.Await("the disk to be full", failed.Load)
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := kithtest.Options{
				Conditions: memnet.Conditions{Delay: 20 * time.Millisecond},
				Configure:  func(_ string, cfg *kith.Config) { cfg.SetSnapshotBytes(1 << 20) },
			}
			kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) {
				ready(t, c)
				for i := range 10 {
					set(t, c.Node("alpha"), fmt.Sprintf("k/%02d", i), "before")
				}
				ready(t, c)
				s := &scene{c: c, before: contents(t, c.Node("charlie"), "k/")}
				s.holding = func() map[string]string { return contents(t, c.Node("charlie"), "k/") }
				c.Kill("charlie")
				var wg sync.WaitGroup
				for i := range 30 {
					wg.Go(func() {
						if _, err := c.Node("alpha").KV().Set(t.Context(), fmt.Sprintf("k/%02d", i), bulk()); err != nil {
							t.Errorf("writing: %v", err)
						}
					})
				}
				wg.Wait()
				want := contents(t, c.Node("alpha"), "k/")
				c.Await("the others to have a snapshot of it", func() bool {
					for _, n := range c.Nodes() {
						if n.Status().Agreement.SnapshotBytes < 2<<20 {
							return false
						}
					}
					return true
				})
				c.Restart("charlie")
				c.Await("half a snapshot to be sent", func() bool {
					for _, n := range c.Nodes() {
						for _, m := range n.Status().Agreement.Members {
							if m.SnapshotTotal > 0 && m.SnapshotSent > m.SnapshotTotal/4 && m.SnapshotSent < m.SnapshotTotal*3/4 {
								s.sender = n
								return true
							}
						}
					}
					return false
				})
				if got := s.holding(); !maps.Equal(got, s.before) {
					t.Errorf("while a snapshot comes in, charlie shows %d keys; it had %d", len(got), len(s.before))
				}
				cut(t, s)
				works(t, c)
				if got := s.holding(); !maps.Equal(got, want) {
					t.Errorf("in the end charlie has %d keys, the others %d", len(got), len(want))
				}
				c.PowerOff("charlie") // what it took is durable
				c.Restart("charlie")
				works(t, c)
				if got := s.holding(); !maps.Equal(got, want) {
					t.Errorf("after a power loss charlie has %d keys, the others %d", len(got), len(want))
				}
				unfinished(t, c.Disk("charlie"), c.Node("charlie").Status().Dir)
			})
		})
	}
}

// unfinished makes sure that no half-written snapshots lie about in a directory.
func unfinished(t *testing.T, d *memdisk.Disk, dir string) {
	t.Helper()
	names, err := d.Mount().List(filepath.Join(dir, "snapshots"))
	if err != nil || len(names) == 0 {
		t.Errorf("snapshots: %q, %v", names, err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".snap") {
			t.Errorf("%s lies about", name)
		}
	}
}
