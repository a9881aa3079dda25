package founding

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// scenario runs f in virtual time, in a world of the named nodes, none of which runs.
func scenario(t *testing.T, f func(t *testing.T, w *world), names ...string) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, peersOf(names...))
		defer w.end()
		f(t, w)
	})
}

func (w *world) expect(name string, phase Phase, words ...string) {
	w.t.Helper()
	synctest.Wait()
	s := w.state(name)
	if s.Phase != phase {
		w.t.Errorf("%s is %s, want %s%s", name, s.Phase, phase, w.standing())
	}
	for _, text := range words {
		if !strings.Contains(s.String(), text) {
			w.t.Errorf("%s says %q, want %q in it", name, s, text)
		}
	}
}

// TestLastFounderIsNotWaitedFor: once the last one is there, the cluster is founded at
// once, not at the end of somebody's pause.
func TestLastFounderIsNotWaitedFor(t *testing.T) {
	for _, last := range phonetic[:3] {
		scenario(t, func(t *testing.T, w *world) {
			for _, n := range w.all() {
				if n.name != last {
					n.start()
				}
			}
			time.Sleep(10*time.Second + 123*time.Millisecond)
			for _, name := range phonetic[:3] {
				if name != last {
					w.expect(name, Waiting, last+": not answering: connection refused")
				}
			}
			w.nodes[last].start()
			time.Sleep(100 * time.Millisecond)
			for _, name := range phonetic[:3] {
				w.expect(name, Born)
			}
		}, phonetic[:3]...)
	}
}

func TestAlone(t *testing.T) {
	never := func(context.Context, string, []byte) ([]byte, error) {
		t.Error("somebody was asked")
		return nil, errRefused
	}
	f, err := New(Config{Name: "alpha", Peers: peersOf("alpha"), Ask: never})
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.Run(t.Context())
	if err != nil || id.RaftID != 1 || !validID(id.Record.ClusterID) || len(id.Record.Voters()) != 1 {
		t.Errorf("in memory: %+v, %v", id, err)
	}
	if err := f.SetPeers(peersOf("alpha", "bravo")); !errors.Is(err, ErrNoDirectory) {
		t.Errorf("growing in memory: %v", err)
	}
	if _, err := New(Config{Name: "alpha", Peers: peersOf("alpha", "bravo"), Ask: never}); !errors.Is(err, ErrNoDirectory) {
		t.Errorf("two in memory: %v", err)
	}
	store := InDirectory(freshDisk().Mount(), stateDir)
	var first Identity
	for i := range 2 {
		f, err := New(Config{Name: "alpha", Peers: peersOf("alpha"), Ask: never, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		id, err := f.Run(t.Context())
		if err != nil || i == 1 && !id.Record.Same(first.Record) {
			t.Errorf("on disk, run %d: %+v, %v", i, id, err)
		}
		first = id
	}
	// Later the list names others; the state is there, and nobody is asked.
	f, err = New(Config{Name: "alpha", Peers: peersOf(phonetic[:3]...), Ask: never, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := f.Run(t.Context()); err != nil || !id.Record.Same(first.Record) {
		t.Errorf("with others: %+v, %v", id, err)
	}
}

// TestGrowingFromOne: a node of one gets two companions, which meet one another before
// they meet it. They do not found a second cluster, and are told that the first one
// does not count them in.
func TestGrowingFromOne(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		alpha := w.nodes["alpha"]
		alpha.list = peersOf("alpha")
		alpha.start()
		w.expect("alpha", Born)
		alpha.stop(false)
		w.nodes["bravo"].start()
		w.nodes["charlie"].start()
		time.Sleep(10 * time.Minute)
		w.expect("bravo", Waiting, "alpha: not answering")
		alpha.list = peersOf(phonetic[:3]...)
		alpha.start()
		time.Sleep(5 * time.Second)
		cluster := w.state("alpha").ClusterID
		for _, name := range phonetic[1:3] {
			w.expect(name, NotMember, "not a member of cluster "+cluster)
			if err := w.state(name).Err; !errors.Is(err, ErrNotMember) {
				t.Error(err)
			}
		}
		w.expect("alpha", Born)
	}, phonetic[:3]...)
}

// TestGrowingFromAnywhere: the cluster of one gets lower PIDs before it, so that it
// would not even vote. Its word counts all the same, when it can be heard.
func TestGrowingFromAnywhere(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		hotel := w.nodes["hotel"]
		hotel.list = []Peer{{8, "hotel"}}
		hotel.start()
		w.expect("hotel", Born)
		for _, n := range w.all() {
			n.start()
		}
		time.Sleep(20 * time.Second)
		for _, name := range phonetic[:7] {
			w.expect(name, NotMember)
		}
	}, phonetic...)
}

func TestLearners(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.nodes["foxtrot"].start()
		time.Sleep(time.Minute)
		w.expect("foxtrot", Waiting, "alpha: not answering")
		for _, name := range phonetic[:5] {
			w.nodes[name].start()
		}
		time.Sleep(5 * time.Second)
		for _, name := range phonetic[:6] {
			w.expect(name, Born)
		}
		// One comes a day later, when two voters are down.
		time.Sleep(24 * time.Hour)
		w.nodes["alpha"].stop(true)
		w.nodes["charlie"].stop(true)
		w.nodes["golf"].start()
		time.Sleep(10 * time.Second)
		w.expect("golf", Born)
		golf := w.nodes["golf"].founder().Identity()
		if m, _ := golf.Record.Member("golf"); golf.RaftID != 7 || m.Voter {
			t.Errorf("golf is %+v", m)
		}
		// Who loses its disk stays out, whoever it is.
		for _, name := range []string{"golf", "bravo"} {
			n := w.nodes[name]
			n.stop(true)
			n.wipe()
			n.start()
			time.Sleep(5 * time.Second)
			w.expect(name, Lost, "with another state directory")
			if err := n.life.err; !errors.Is(err, ErrStateLost) {
				t.Errorf("Run returned %v", err)
			}
		}
		// A restart with the same disk asks nobody.
		foxtrot := w.nodes["foxtrot"]
		foxtrot.stop(true)
		foxtrot.cut = true
		foxtrot.start()
		w.expect("foxtrot", Born)
	}, phonetic[:7]...)
}

// TestEnteringTakesPatience: without a majority nobody is let in.
func TestEnteringTakesPatience(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		for _, name := range phonetic[:3] {
			w.nodes[name].start()
		}
		time.Sleep(time.Second)
		w.nodes["delta"].start()
		w.mu.Lock()
		w.net.loss = 1 // only what is lost in a moment
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.net.loss = 0
		alpha, bravo := w.nodes["alpha"].identity, w.nodes["bravo"].identity
		w.nodes["alpha"].identity, w.nodes["bravo"].identity = Identity{}, Identity{} // as if they were gone
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.expect("delta", Joining, "did not let this node in: no majority")
		w.mu.Lock()
		w.nodes["alpha"].identity, w.nodes["bravo"].identity = alpha, bravo
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		w.expect("delta", Born)
	}, phonetic[:4]...)
}

// TestOverride: an operator does without a founder. It comes late, and is let in once.
func TestOverride(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		alpha, bravo, charlie := w.nodes["alpha"], w.nodes["bravo"], w.nodes["charlie"]
		alpha.start()
		bravo.start()
		time.Sleep(time.Minute)
		w.expect("alpha", Waiting, "charlie: not answering")
		alpha.stop(false)
		alpha.override = []string{"bravo", "alpha"}
		alpha.start()
		time.Sleep(time.Minute)
		w.expect("alpha", Waiting, "bravo: lists other peers: its override is none, ours alpha, bravo")
		bravo.stop(false)
		bravo.override = []string{"alpha", "bravo"}
		bravo.start()
		time.Sleep(time.Second)
		w.expect("alpha", Born)
		w.expect("bravo", Born)
		charlie.start()
		time.Sleep(time.Second)
		w.expect("charlie", Born)
		if m, _ := charlie.founder().Identity().Record.Member("charlie"); !m.Voter {
			t.Error("charlie does not vote")
		}
		charlie.stop(true)
		charlie.wipe()
		charlie.start()
		time.Sleep(time.Second)
		w.expect("charlie", Lost)
	}, phonetic[:3]...)
}

// TestTwoClusters: a fresh node that meets two waits; members that meet say so.
func TestTwoClusters(t *testing.T) {
	logs := &lockedBuffer{}
	scenario(t, func(t *testing.T, w *world) {
		w.log = slog.New(slog.NewTextHandler(logs, nil))
		for _, name := range phonetic[:2] {
			w.nodes[name].list = []Peer{{1, name}}
			w.nodes[name].start()
			w.expect(name, Born)
			w.nodes[name].stop(false)
			w.nodes[name].list = peersOf(phonetic[:3]...)
		}
		w.several = true
		for _, n := range w.all() {
			n.start()
		}
		time.Sleep(20 * time.Second)
		one, two := w.state("alpha").ClusterID, w.state("bravo").ClusterID
		w.expect("charlie", Waiting, "alpha: belongs to cluster "+one, "bravo: belongs to cluster "+two, "correct the list")
		alpha := w.nodes["alpha"].founder()
		logs.Reset()
		for range 3 {
			alpha.Met("bravo", two)
			alpha.Met("zulu", two) // not in the list
			alpha.Met("charlie", "")
		}
		w.expect("alpha", Born, "bravo: belongs to cluster "+two, "correct the list")
		if n := strings.Count(logs.String(), "another cluster"); n != 1 {
			t.Errorf("logged %d times: %s", n, logs.String())
		}
		alpha.Met("bravo", one) // it was mended
		if s := alpha.State(); s.Err != nil || len(s.Waiting) > 0 {
			t.Errorf("still %v", s)
		}
		alpha.Met("bravo", two)
		alpha.SetPeers(peersOf("alpha"))
		if s := alpha.State(); s.Err != nil || len(s.Waiting) > 0 {
			t.Errorf("still %v", s)
		}
	}, phonetic[:3]...)
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// TestWaitingIsLogged: at once, when it changes, and once a minute.
func TestWaitingIsLogged(t *testing.T) {
	logs := &lockedBuffer{}
	scenario(t, func(t *testing.T, w *world) {
		w.log = slog.New(slog.NewTextHandler(logs, nil))
		lines := func(text string) int { return strings.Count(logs.String(), text) }
		w.nodes["alpha"].start()
		synctest.Wait()
		if lines("waiting for bravo, charlie to found the cluster") != 1 {
			t.Errorf("not at once: %s", logs.String())
		}
		time.Sleep(10 * time.Second)
		w.nodes["bravo"].start()
		time.Sleep(time.Second)
		if lines("waiting for charlie to found the cluster") != 2 { // on both
			t.Errorf("no news: %s", logs.String())
		}
		logs.Reset()
		time.Sleep(10 * time.Minute)
		if n := lines("waiting for charlie"); n < 18 || n > 20 {
			t.Errorf("%d lines in ten minutes by two nodes", n)
		}
	}, phonetic[:3]...)
}

// TestListsChange: the list in force counts, also that of a node that waits.
func TestListsChange(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		for _, name := range phonetic[:2] {
			w.nodes[name].start()
		}
		time.Sleep(time.Minute)
		w.expect("alpha", Waiting, "charlie: not answering")
		// charlie's machine will never come; delta replaces it.
		list := []Peer{{1, "alpha"}, {2, "bravo"}, {4, "delta"}}
		w.nodes["delta"].list = list
		w.nodes["delta"].start()
		alpha, bravo := w.nodes["alpha"].founder(), w.nodes["bravo"].founder()
		if err := alpha.SetPeers(list); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.expect("alpha", Waiting, "bravo: lists other peers: its voters are alpha (pid 1), bravo (pid 2), charlie (pid 3), ours alpha (pid 1), bravo (pid 2), delta (pid 4)")
		if err := bravo.SetPeers(list); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		for _, name := range []string{"alpha", "bravo", "delta"} {
			w.expect(name, Born)
		}
		for want, wrong := range map[error][]Peer{ErrNotListed: peersOf("bravo"), nil: list} {
			if err := alpha.SetPeers(wrong); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
	}, phonetic[:4]...)
}

// TestDiskFails: after a failed save the process says nothing more of itself than that.
func TestDiskFails(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.nodes["alpha"].start()
		w.nodes["charlie"].start()
		time.Sleep(time.Second)
		bravo := w.nodes["bravo"]
		bravo.start()
		synctest.Wait()
		bravo.stop(false) // it was founded, or is about to: what counts is the disk
		bravo.wipe()
		w.nodes["alpha"].stop(true)
		w.nodes["alpha"].wipe()
		w.nodes["charlie"].stop(true)
		w.nodes["charlie"].wipe()
		w.records, w.counted = map[string]*Record{}, map[seat]string{}
		bravo.start()
		time.Sleep(time.Second)
		bravo.disk.Fail(memdisk.Sync, 1, syscall.EIO)
		w.nodes["alpha"].start()
		w.nodes["charlie"].start()
		time.Sleep(5 * time.Second)
		w.expect("bravo", Failed, "input/output error")
		w.expect("alpha", Promised, "bravo: its disk failed")
		if err := bravo.life.err; !errors.Is(err, syscall.EIO) {
			t.Errorf("Run returned %v", err)
		}
		bravo.stop(false)
		bravo.start()
		time.Sleep(5 * time.Second)
		for _, name := range phonetic[:3] {
			w.expect(name, Born)
		}
	}, phonetic[:3]...)
}

// TestRunEndsWithItsContext, wherever it is.
func TestRunEndsWithItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		for _, after := range []time.Duration{0, 100 * time.Millisecond, 3 * time.Second} {
			f, err := New(Config{
				Name: "bravo", Peers: peersOf(phonetic[:3]...), Store: InDirectory(freshDisk().Mount(), stateDir),
				Ask: func(ctx context.Context, name string, _ []byte) ([]byte, error) {
					if name == "alpha" {
						return nil, errRefused
					}
					<-ctx.Done()
					return nil, ctx.Err()
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(cause) })
			start := time.Now()
			if _, err := f.Run(ctx); err != cause || time.Since(start) != after {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(start), cause, after)
			}
		}
	})
}

// TestAskedOfSomebodyElse: an answer counts for the node that was asked.
func TestAskedOfSomebodyElse(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		other, _ := founderWith(t, Identity{})
		f, err := New(Config{
			Name: "alpha", Peers: peersOf(phonetic[:4]...), Store: InDirectory(freshDisk().Mount(), stateDir),
			Ask: func(ctx context.Context, name string, q []byte) ([]byte, error) {
				if name == "delta" {
					return []byte("HTTP/1.1 400"), nil
				}
				return other.Answer(ctx, "alpha", q), nil // bravo answers for charlie
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f.Run(ctx)
		if s := f.State().String(); !strings.Contains(s, `charlie: not answering: its answer makes no sense: it calls itself "bravo"`) {
			t.Error(s)
		}
	})
}

// TestMintingLooksAgain: what changes after the others were asked, and before the
// record is saved, is not overlooked.
func TestMintingLooksAgain(t *testing.T) {
	list := peersOf(phonetic[:7]...)
	theirs := recordOf(nil, phonetic[:5]...)
	for name, tc := range map[string]struct {
		change func(f *Founder)
		want   *Record
	}{
		"another list": {change: func(f *Founder) { f.SetPeers(list[:6]) }},
		"a promise": {
			change: func(f *Founder) {
				f.Answer(context.Background(), "bravo", question{
					Version: version, Verb: promise, To: "alpha", ToDirectory: f.Identity().Directory, Record: theirs,
					From: report{Name: "bravo", Directory: directoryOf("bravo"), Promise: theirs},
				}.encode())
			},
			want: theirs,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var f *Founder
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				ask := func(_ context.Context, name string, b []byte) ([]byte, error) {
					q, err := decodeQuestion(b)
					if err != nil || q.Verb != hello {
						return nil, fmt.Errorf("%s is asked to %s, %v", name, q.Verb, err)
					}
					if name == "golf" { // of the learners it is asked last, before the minting
						tc.change(f)
					}
					return answer{Version: version, Verdict: granted,
						From: report{Name: name, Directory: directoryOf(name), Plan: newPlan(list, nil)}}.encode(), nil
				}
				var err error
				f, err = New(Config{Name: "alpha", Peers: list, Store: InDirectory(freshDisk().Mount(), stateDir), Ask: ask})
				if err != nil {
					t.Fatal(err)
				}
				f.Run(ctx)
				if got := f.Identity().Promise; got != tc.want && !got.Same(tc.want) {
					t.Errorf("it is bound to %v, want %v", got, tc.want)
				}
			})
		})
	}
}
