package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/stage/smoke"
)

func TestMain(m *testing.M) { smoke.Main(m, main) }

// A little of everything, in a minute on an idle machine. It shows that the benchmark
// works.
func TestSmoke(t *testing.T) {
	systems, rival := "kith,etcd,zookeeper", "zookeeper"
	if _, err := findZookeeper(); err != nil {
		t.Log("WITHOUT ZooKeeper:", err)
		systems, rival = "kith,etcd", "etcd"
	}
	smoke.Run(t, []string{"-quick", "-systems", systems}, []string{
		`acquire\+release own lock c=1: kith \d+/s etcd \d+/s ratio \d+\.\d`,
		`acquire\+release own lock c=64: kith \d+/s ` + rival + ` \d+/s ratio \d+\.\d`,
		`acquire\+release own lock follower c=64: kith \d+/s etcd \d+/s ratio \d+\.\d`,
		`CPU per 10k acquire\+release own lock c=64: kith \S+ s etcd \S+ s ratio \d+\.\d`,
		`handovers of one lock c=2: kith \d+/s ` + rival + ` \d+/s ratio \d+\.\d`,
		`handovers of one lock c=16: kith \d+/s etcd \d+/s ratio \d+\.\d`,
		`grants per contender, most/least, c=16: kith \S+ etcd \S+ ratio \d+\.\d`,
		`holder killed to next grant: kith \S+ ms etcd \S+ ms ratio \S+`,
		`leader and holder killed to next grant: kith \S+ ms ` + rival + ` \S+ ms ratio \S+`,
		`idle CPU of the three servers with 20 groups of 10: kith \S+ % etcd \S+ % ratio \S+`,
		`memory of 20 groups of 10 in one server: kith \S+ MiB etcd \S+ MiB ratio \S+`,
		`one leave with 20 groups of 10: kith \S+ ms ` + rival + ` \S+ ms ratio \S+`,
	})
}

// Whatever the children are doing, an interrupt ends them and leaves nothing, rivals'
// programs neither.
func TestInterrupt(t *testing.T) {
	system, children := zookeeper, stage.ClusterSize+1
	if _, err := findZookeeper(); err != nil {
		t.Log("WITHOUT ZooKeeper:", err)
		system, children = "kith", stage.ClusterSize
	}
	smoke.Interrupt(t, []string{"-systems", system, "-time", "1h", "-only", "own lock c=1$"}, "warming up", children)
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-quick", "-kills", "3", "-systems", "kith,etcd"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Kills != 3 || o.Rounds != 1 || o.groups != 20 || len(grid(o)) != 6 || strings.Join(o.Systems, " ") != "kith etcd" {
		t.Errorf("-quick, with flags beside it, is %+v", o)
	}
	if o, err = parse(nil); err != nil || o.Kills != 20 || o.groups != 1000 || len(grid(o)) != 8 {
		t.Errorf("the defaults are %+v, error %v", o, err)
	}
	for _, args := range [][]string{{"-groups", "0"}, {"-systems", "nats"}, {"-only", "("}, {"surplus"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestNames(t *testing.T) {
	for want, m := range map[string]stage.Cell{
		"acquire+release own lock c=1":          {Op: ownLock, At: stage.Leader, Callers: 1},
		"acquire+release own lock follower c=1": {Op: ownLock, At: stage.Follower, Callers: 1},
		"handovers of one lock c=16":            {Op: oneLock, At: stage.Anywhere, Callers: 16},
	} {
		if got := rateName(m, ""); got != want {
			t.Errorf("%+v is called %q, want %q", m, got, want)
		}
	}
}

// One lock is contended from all nodes, beginning with the one that is given; own locks
// are all different, at one.
func TestSeats(t *testing.T) {
	nodes, locks := make(map[int]int), make(map[string]bool)
	for _, at := range seats(stage.Cell{Op: oneLock, Callers: 16}, 2) {
		nodes[at.Node]++
		locks[at.Lock] = true
	}
	if len(locks) != 1 || nodes[2] != 6 || nodes[0] != 5 || nodes[1] != 5 {
		t.Errorf("16 contenders sit at %v for %v", nodes, locks)
	}
	clear(nodes)
	clear(locks)
	for _, at := range seats(stage.Cell{Op: ownLock, Callers: 16}, 2) {
		nodes[at.Node]++
		locks[at.Lock] = true
	}
	if len(locks) != 16 || nodes[2] != 16 {
		t.Errorf("16 callers sit at %v for %v", nodes, locks)
	}
}

// fair is a system with one lock, granted in order of arrival after some time.
type fair struct {
	client // the rest of it is not asked
	departures
	takes  time.Duration
	killed chan struct{}
	refuse error // once, after the kill

	mu   sync.Mutex
	line chan struct{}
}

func newFair(takes time.Duration) *fair { return &fair{takes: takes, line: make(chan struct{}, 1)} }

func (f *fair) contenders(_ context.Context, seats []seat) ([]contender, func(), error) {
	return slices.Repeat([]contender{f}, len(seats)), func() {}, nil
}

func (f *fair) candidate(context.Context, seat) (contender, func(), error) { return f, func() {}, nil }
func (f *fair) joined() *departures                                        { return &f.departures }

func (f *fair) acquire(ctx context.Context) error {
	if f.killed != nil {
		<-f.killed
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := f.refuse; err != nil {
			f.refuse = nil
			return err
		}
	} else {
		select {
		case f.line <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	time.Sleep(f.takes)
	return nil
}

func (f *fair) release(context.Context) error {
	if f.killed == nil {
		<-f.line
	}
	return nil
}

func TestCompetitionCountsGrantsOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &competition{Loop: stage.Loop{Window: time.Second, At: time.Now().Add(100 * time.Millisecond)},
			Seats: slices.Repeat([]seat{{Lock: "one"}}, 4)}
		result, err := q.Run(t.Context(), newFair(5*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		s := result.(*stage.Sample)
		if s.Done() < 198 || s.Done() > 202 || s.Failed != 0 || len(s.By) != 4 {
			t.Errorf("%d grants to %v, %d failures", s.Done(), s.By, s.Failed)
		}
		if slices.Max(s.By)-slices.Min(s.By) > 1 {
			t.Errorf("a fair lock is granted %v times", s.By)
		}
		text, err := json.Marshal(s) // as it travels
		if err != nil {
			t.Fatal(err)
		}
		var other stage.Sample
		if err := json.Unmarshal(text, &other); err != nil {
			t.Fatal(err)
		}
		done := s.Done()
		s.Merge(&other)
		if s.Done() != 2*done || len(s.By) != 8 || s.Took != time.Second {
			t.Errorf("two of it are %d grants to %v in %v", s.Done(), s.By, s.Took)
		}
	})
}

// The time counts from SIGKILL, and attempts that fail on the way are told.
func TestSuccession(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Skip("no sleep(1) to kill:", err)
	}
	f := newFair(50 * time.Millisecond)
	f.killed, f.refuse = make(chan struct{}), errors.New("no leader")
	go func() {
		victim.Wait()
		close(f.killed)
	}()
	q := &succeeding{PIDs: []int{victim.Process.Pid}, Before: 20 * time.Millisecond, Limit: 20 * time.Second}
	result, err := q.Run(t.Context(), f)
	if err != nil {
		victim.Process.Kill()
		t.Fatal(err)
	}
	if o := result.(*succession); o.Took < 50*time.Millisecond || o.Failed != 1 || o.Error != "no leader" {
		t.Errorf("a succession of %+v, want 50 ms at least", o)
	}
}

func TestSuccessionNeedsAHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &succeeding{Before: time.Second, Limit: time.Second}
		if _, err := q.Run(t.Context(), newFair(time.Millisecond)); err == nil {
			t.Error("a lock that nobody holds has a successor")
		}
	})
}
