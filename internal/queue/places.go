package queue

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Places are what one holder, a node or a program that a node speaks for, has and
// wants in queues. Use New to make one; it is safe for concurrent use.
type Places struct {
	replica Replica
	name    string
	// gate bounds how many commands are under way, below what a replica takes at
	// once: ten thousand who enter together come in one after the other.
	gate chan struct{}
	wg   sync.WaitGroup          // of all goroutines
	held atomic.Pointer[Session] // the one that places were asked for under last

	mu     sync.Mutex // guards the fields below
	closed bool
	ending bool   // the end of the replica will be that of the lines
	count  uint64 // of members that were given a name of their own
	lines  map[lineName]*line
	named  map[placeName]*Place // those with a name that the caller chose, until they are settled
}

const maxUnderWay = 2048

type lineName struct {
	kind statepb.QueueName_Kind
	name string
}

type placeName struct {
	lineName
	session uint64
	member  string
}

// New returns the places of a holder that others see as name.
func New(r Replica, name string) *Places {
	return &Places{
		replica: r,
		name:    name,
		gate:    make(chan struct{}, maxUnderWay),
		lines:   make(map[lineName]*line),
		named:   make(map[placeName]*Place),
	}
}

// Close lets nothing new begin and waits for what was begun. That ends with
// Replica.Context, which whoever calls Close ends first.
func (p *Places) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wg.Wait()
}

// Name is what others see this holder as.
func (p *Places) Name() string { return p.name }

// Replica returns that which the places are in.
func (p *Places) Replica() Replica { return p.replica }

// Unique returns a member name that no other place of this holder's sessions has:
// two goroutines of one node are two contenders. Name turns it back.
func (p *Places) Unique(name string) string {
	p.mu.Lock()
	p.count++
	n := p.count
	p.mu.Unlock()
	return name + "#" + strconv.FormatUint(n, 10)
}

// Name returns what people call a member: its name without the number that Unique
// has given it.
func Name(member string) string {
	i := strings.LastIndexByte(member, '#')
	if i < 0 || i+1 == len(member) || strings.Trim(member[i+1:], "0123456789") != "" {
		return member
	}
	return member[:i]
}

// Request asks for a place.
type Request struct {
	Kind  statepb.QueueName_Kind
	Queue string
	// Member names the place among those of the session. Empty: a name that is made
	// with Unique. With one that was given, entering again under the same session
	// leads to the same place, from whichever node; while one holder has it, entering
	// once more is refused with ErrTaken.
	Member     string
	Data       []byte // not kept
	Limit      uint64 // how many hold
	OnlyIfHeld bool   // do not wait: *HeldError if it would not hold
	Precedence uint64
}

// Enter takes a place. It blocks until the answer is known, ctx ends, or the node.
// The errors are *outcome.Error about op and NotDone: a place that comes of it all the
// same, because ctx ended before the answer was known, is given up in the background.
func (p *Places) Enter(ctx context.Context, op string, r Request) (*Place, error) {
	for {
		place, result, err := p.attempt(ctx, &r)
		switch {
		case err != nil:
			return nil, withdrawn(op, r.Queue, err)
		case result.GetCode() == statepb.Result_OK:
			return place, nil
		case result.GetCode() != statepb.Result_NO_SESSION:
			return nil, Refused(op, r.Queue, result, r.Limit)
		}
		// It ended before anything was taken. Its context is about to end too.
		select {
		case <-place.session.Context().Done():
		case <-ctx.Done():
			return nil, NotDone(op, r.Queue, context.Cause(ctx), "")
		}
	}
}

// withdrawn is the error of an attempt to enter that came to nothing, or that is
// undone.
func withdrawn(op, name string, err error) error {
	if e, ok := errors.AsType[*outcome.Error](err); ok {
		return NotDone(op, name, e.Err, e.Hint)
	}
	return NotDone(op, name, err, "")
}

// attempt enters with the session that there is now. The place is in the queue if
// the result is OK.
func (p *Places) attempt(ctx context.Context, r *Request) (*Place, *statepb.Result, error) {
	session, err := p.replica.Hold(ctx)
	if err != nil {
		return nil, nil, err
	}
	p.held.Store(&session)
	place, err := p.place(ctx, session, r)
	if err != nil {
		return nil, nil, err
	}
	defer p.wg.Done()
	result, err := p.enter(ctx, place, &statepb.Command{Op: &statepb.Command_Enter{Enter: &statepb.Enter{
		Queue: place.line.queue, Session: session.SessionID(), Member: place.member, Data: r.Data,
		Limit: r.Limit, OnlyIfHeld: r.OnlyIfHeld, Precedence: r.Precedence,
	}}})
	switch {
	case err != nil:
		return nil, nil, err
	case result.GetCode() != statepb.Result_OK:
		place.settle(nil)
		return place, result, nil
	}
	place.token = result.GetToken()
	place.line.follow(place)
	return place, result, nil
}

// enter proposes. The command goes on when ctx ends, so that the answer comes to be
// known: a command that was taken back after it was sent could still be done, after
// any Leave.
func (p *Places) enter(ctx context.Context, place *Place, cmd *statepb.Command) (*statepb.Result, error) {
	if err := p.pass(ctx, place.ctx); err != nil {
		place.undo(nil, err)
		return nil, err
	}
	proposal, err := p.replica.Submit(ctx, place.ctx, cmd)
	if err != nil {
		<-p.gate
		place.undo(nil, err)
		return nil, err
	}
	result, known, err := proposal.Answer(ctx)
	if known {
		<-p.gate
		if err != nil {
			place.undo(nil, err)
		}
		return result, err
	}
	place.giveUp()
	withdraw := func() {
		result, _, err := proposal.Answer(context.Background())
		<-p.gate
		place.undo(result, err)
	}
	if !p.spawn(withdraw) {
		withdraw() // closed, so the place's context ends, and nobody waits for long
	}
	return nil, p.late(ctx)
}

// late is the error of a call whose context has ended. The replica knows whether
// that is because there is no majority.
func (p *Places) late(ctx context.Context) error {
	err := p.replica.Barrier(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	return outcome.With("", "", err, outcome.NotDone)
}

// propose proposes when there is room.
func (p *Places) propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	if err := p.pass(ctx, ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.gate }()
	return p.replica.Propose(ctx, cmd)
}

// pass returns nil when there is room for one more command, which whoever has taken it
// gives back, or an error when one of the two contexts has ended.
func (p *Places) pass(ctx, lasting context.Context) error {
	select {
	case p.gate <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return p.late(ctx)
	case <-lasting.Done():
		return p.late(lasting)
	}
}

// spawn runs f in a goroutine of its own, unless the places are closed.
func (p *Places) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(f)
	return true
}

// place makes a place that is not in the queue yet. Close waits until whoever called place
// calls wg.Done: then the place is there or not. If the caller has chosen a name that one who
// leaves still has, or who has lost the place, it waits for that to be over.
func (p *Places) place(ctx context.Context, session Session, r *Request) (*Place, error) {
	member, chosen := r.Member, r.Member != ""
	if !chosen {
		member = p.Unique(p.name)
	}
	key := lineName{r.Kind, r.Queue}
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, NotDone("", "", outcome.ErrClosed, "")
		}
		name := placeName{key, session.SessionID(), member}
		other := p.named[name]
		if other == nil {
			place := newPlace(p, p.lineLocked(key), session, member)
			if chosen {
				place.chosen = true
				p.named[name] = place
			}
			p.wg.Add(1)
			p.mu.Unlock()
			return place, nil
		}
		p.mu.Unlock()
		if !other.isLeaving() && !other.vanished() {
			return nil, NotDone("", "", ErrTaken, "")
		}
		select {
		case <-other.settled:
		case <-ctx.Done():
			return nil, NotDone("", "", context.Cause(ctx), "")
		}
	}
}

// lineLocked returns the line of that name for one more place; mu is held.
func (p *Places) lineLocked(key lineName) *line {
	l := p.lines[key]
	if l == nil {
		p.outlive()
		l = newLine(p, key)
		p.lines[key] = l
	}
	l.users++
	return l
}

// done gives back what lineLocked gave. The last one ends the line.
func (p *Places) done(place *Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := place.line
	if place.chosen {
		name := placeName{l.lineName, place.session.SessionID(), place.member}
		if p.named[name] == place {
			delete(p.named, name)
		}
	}
	if l.users--; l.users == 0 {
		delete(p.lines, l.lineName)
		l.unlisten()
	}
}

// outlive sees to it, once, that all places end with the replica. mu is held, and the places
// are not closed: who closes them has ended the replica before, and waits.
func (p *Places) outlive() {
	if p.ending {
		return
	}
	p.ending = true
	p.wg.Add(1)
	ended := p.replica.Context()
	context.AfterFunc(ended, func() {
		defer p.wg.Done()
		p.mu.Lock()
		lines := slices.Collect(maps.Values(p.lines))
		p.mu.Unlock()
		for _, l := range lines {
			l.abandon(context.Cause(ended))
		}
	})
}

// pause waits before another try of what is done in the background.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// View calls fn with the queue of that name as this node has it, empty if nobody
// is in it.
func (p *Places) View(kind statepb.QueueName_Kind, name string, fn func(*state.Machine, state.Queue)) error {
	return p.replica.View(func(m *state.Machine) {
		q, _ := m.Queue(kind, name)
		fn(m, q)
	})
}
