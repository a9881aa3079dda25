package httpapi

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// fakeReplica is an agreement of one: a real state machine and no log. Tests set what
// goes wrong.
type fakeReplica struct {
	ctx context.Context

	mu        sync.Mutex // guards all below
	machine   *state.Machine
	proposer  uint64
	seq, time uint64
	session   uint64
	ears      map[chan uint64]string
	refused   error // nothing is proposed
	lost      error // what was proposed is done, and its answer lost
	unread    error // of Barrier
	held      chan struct{}
	looks     int // at the machine
}

func newFakeReplica(ctx context.Context) *fakeReplica {
	f := &fakeReplica{ctx: ctx, ears: make(map[chan uint64]string)}
	var err error
	f.machine, err = state.Found(&statepb.Cluster{
		Id: "c", Feature: 1, Members: []*statepb.Member{{RaftId: 1, Name: "alpha", Pid: 1, Voter: true}},
	}, 1, 1)
	if err != nil {
		panic(err)
	}
	f.apply(&statepb.Batch{Registration: &statepb.Registration{Member: 1, Incarnation: 1}})
	f.proposer = f.machine.Index()
	return f
}

// apply applies one entry; f.mu is held, or nobody else knows f.
func (f *fakeReplica) apply(batches ...*statepb.Batch) *statepb.Result {
	data, err := (&statepb.Entry{Term: 1, Time: f.time, Batches: batches}).MarshalVT()
	if err != nil {
		panic(err)
	}
	out, err := f.machine.Apply(f.machine.Index()+1, 1, data)
	if err != nil {
		panic(err)
	}
	for _, c := range out.Changes {
		for ear, prefix := range f.ears {
			if strings.HasPrefix(c.Name, prefix) {
				select {
				case ear <- c.Revision:
				default:
				}
			}
		}
	}
	var result *statepb.Result
	for _, a := range out.Answers {
		result = a.Result
	}
	return result
}

// advance moves agreed time.
func (f *fakeReplica) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time += uint64(d / time.Millisecond)
	f.apply()
}

// set makes things go wrong, or well again.
func (f *fakeReplica) set(refused, lost, unread error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused, f.lost, f.unread = refused, lost, unread
}

// hold has whatever must be agreed on wait until release is called, or its context ends, as
// without a majority.
func (f *fakeReplica) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = nil
		close(held)
	})
}

func (f *fakeReplica) wait(ctx context.Context) error {
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held == nil {
		return ctx.Err()
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return outcome.ErrNoQuorum
	}
}

func (f *fakeReplica) Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	if err := f.wait(ctx); err != nil {
		return nil, &outcome.Error{Op: "agreement", Outcome: outcome.Unknown, Err: err, Hint: "bravo does not answer"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused != nil {
		return nil, &outcome.Error{Op: "agreement", Err: f.refused, Hint: "bravo does not answer"}
	}
	f.seq++
	cmd.Seq = f.seq
	result := f.apply(&statepb.Batch{Proposer: f.proposer, Low: f.seq, Commands: []*statepb.Command{cmd}})
	if f.lost != nil {
		return nil, &outcome.Error{Op: "agreement", Outcome: outcome.Unknown, Err: f.lost}
	}
	return result, nil
}

func (f *fakeReplica) Barrier(ctx context.Context) error {
	err := f.wait(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.unread
	}
	if err != nil {
		return &outcome.Error{Op: "agreement", Err: err, Hint: "bravo does not answer"}
	}
	return nil
}

func (f *fakeReplica) View(fn func(*state.Machine)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	fn(f.machine)
	return nil
}

func (f *fakeReplica) Subscribe(prefix string) (<-chan uint64, func()) {
	ear := make(chan uint64, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ears[ear] = prefix
	return ear, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.ears, ear)
	}
}

// listening returns how many subscriptions there are.
func (f *fakeReplica) listening() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ears)
}

// waiting returns a function that tells whether n more have subscribed, and looked, and so
// miss nothing from now on. Nobody else may look at the machine meanwhile.
func (f *fakeReplica) waiting(n int) func() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ears, looks := len(f.ears)+n, f.looks+n
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.ears) >= ears && f.looks >= looks
	}
}

func (f *fakeReplica) Session(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session == 0 {
		f.seq++
		cmd := &statepb.Command{Seq: f.seq, Op: &statepb.Command_OpenSession{OpenSession: &statepb.OpenSession{Member: 1, TtlMs: 10_000}}}
		f.session = f.apply(&statepb.Batch{Proposer: f.proposer, Low: f.seq, Commands: []*statepb.Command{cmd}}).GetRevision()
	}
	return f.session, nil
}

func (f *fakeReplica) Context() context.Context { return f.ctx }
