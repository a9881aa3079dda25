package lock

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Contender is one who holds a lock or waits for it, as it was when it was looked at.
type Contender struct {
	// Position is 0 for the one at the head; those below the limit hold.
	Position int
	// Name is that of the node, or what As gave.
	Name string
	// Node names the node that the contender is on, or the one that speaks for the
	// remote Client; Client is "" for the node's own. Both are "" if the session is over.
	Node, Client string
	// Session is the ID of the session that the place belongs to.
	Session uint64
	// Token is the fencing token. Who waits has it already.
	Token uint64
	// Data is what Data gave: the reader's own copy. Empty data is nil.
	Data []byte
	// Age is how long ago it came, by the cluster's agreed time as of the newest entry
	// that this node has: where nothing is written it stands still, until Explain.
	Age time.Duration
	// Revoked tells that the holder was asked to go, with Break, and has not gone yet.
	Revoked bool
	// Self tells that it is one of the session of the node, or the client, that asks.
	Self bool
}

// contender makes what users see of a slot; own is the session that asks, 0 for none.
func contender(m *state.Machine, s *state.Slot, position int, own uint64) Contender {
	c := Contender{
		Position: position, Name: queue.Name(s.Member), Session: s.Session, Token: s.Token,
		Age:     time.Duration(m.Time()-min(s.Since, m.Time())) * time.Millisecond,
		Revoked: s.Revoked, Self: own != 0 && s.Session == own,
	}
	c.Node, c.Client = queue.Home(m, s.Session)
	if len(s.Data) > 0 {
		c.Data = bytes.Clone(s.Data)
	}
	return c
}

// who names the contender for people.
func (c *Contender) who() string {
	switch {
	case c.Client != "":
		return fmt.Sprintf("client %q by %s", c.Client, c.Node)
	case c.Node == "" || c.Node == c.Name:
		return c.Name
	}
	return fmt.Sprintf("%q on %s", c.Name, c.Node)
}

// maxShown is how many bytes of a contender's data String shows.
const maxShown = 64

// String tells who it is, the token, the age and the beginning of the data, in one
// line.
func (c Contender) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, token %d, %v ago", c.who(), c.Token, c.Age)
	if c.Revoked {
		b.WriteString(", asked to go")
	}
	if c.Self {
		b.WriteString(", this node's own")
	}
	switch n := len(c.Data); {
	case n > maxShown:
		fmt.Fprintf(&b, ", data %q… (%d bytes)", c.Data[:maxShown], n)
	case n > 0:
		fmt.Fprintf(&b, ", data %q", c.Data)
	}
	return b.String()
}

// Owners returns those who hold the lock, the first one first; none if it is free. It
// sees every change that was acknowledged before the call, on whichever node; it
// blocks until a majority has confirmed that, until ctx ends, or the node.
func (l *Lock) Owners(ctx context.Context) ([]Contender, error) {
	e, err := l.read(ctx, "owners")
	return e.Holders, err
}

// Waiters returns those who wait for the lock, in the order in which they will get
// it. It blocks and fails as Owners does.
func (l *Lock) Waiters(ctx context.Context) ([]Contender, error) {
	e, err := l.read(ctx, "waiters")
	return e.Waiters, err
}

// Explanation tells all there is to know about a lock, for people and for tools.
type Explanation struct {
	Name string
	// Limit is how many hold at a time: what those in the queue agreed on, or of a
	// lock that nobody uses, what this Lock would ask for.
	Limit    int
	Holders  []Contender
	Waiters  []Contender
	Revision uint64 // the cluster's at that moment
}

// Explain returns everything about the lock. Unlike Owners it writes an entry to the
// log, one that changes nothing: that brings agreed time, and with it the ages, up to
// date. It blocks and fails as Owners does.
func (l *Lock) Explain(ctx context.Context) (Explanation, error) {
	const op = "explain"
	if err := l.check(nil); err != nil {
		return Explanation{}, notDone(op, l.name, err)
	}
	// No place has the token 0: this is refused, and its entry has the time.
	_, err := l.places.Replica().Propose(ctx, &statepb.Command{Op: &statepb.Command_UpdateSlot{UpdateSlot: &statepb.UpdateSlot{
		Queue: l.queue(),
	}}})
	if err != nil {
		e := outcome.With(op, l.name, err, outcome.NotDone).(*outcome.Error)
		e.Outcome = outcome.NotDone // whatever became of it has changed nothing
		return Explanation{}, e
	}
	return l.look(op)
}

func (l *Lock) queue() *statepb.QueueName {
	return &statepb.QueueName{Kind: statepb.QueueName_LOCK, Name: l.name}
}

func (l *Lock) read(ctx context.Context, op string) (Explanation, error) {
	if err := l.check(nil); err != nil {
		return Explanation{}, notDone(op, l.name, err)
	}
	if err := l.places.Replica().Barrier(ctx); err != nil {
		return Explanation{}, outcome.With(op, l.name, err, outcome.NotDone)
	}
	return l.look(op)
}

// look takes in the lock as this node has it.
func (l *Lock) look(op string) (Explanation, error) {
	e := Explanation{Name: l.name, Limit: int(l.limit)}
	own := l.places.SessionID()
	err := l.places.Replica().View(func(m *state.Machine) {
		e.Revision = m.Revision()
		q, ok := m.Queue(statepb.QueueName_LOCK, l.name)
		if !ok {
			return
		}
		e.Limit = int(q.Limit)
		for i, s := range q.Slots {
			if i < q.Holding() {
				e.Holders = append(e.Holders, contender(m, s, i, own))
			} else {
				e.Waiters = append(e.Waiters, contender(m, s, i, own))
			}
		}
	})
	return e, outcome.With(op, l.name, err, outcome.NotDone)
}

// String returns a line about the lock and one about each who holds it or waits.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lock %q: %d of %d hold it, %d wait (revision %d)\n", e.Name, len(e.Holders), e.Limit, len(e.Waiters), e.Revision)
	for _, c := range e.Holders {
		fmt.Fprintf(&b, "%3d. holds: %s\n", c.Position+1, c)
	}
	for _, c := range e.Waiters {
		fmt.Fprintf(&b, "%3d. waits: %s\n", c.Position+1, c)
	}
	return b.String()
}

// Break asks the contender with that token to go. A holder's context ends with
// ErrBroken, and the next in line gets the lock when that holder has released it, or
// its session has ended: never before, so that no two work at a time (S13). A program
// that does not care goes on holding the lock. Who only waits is removed at once.
//
// Break returns when the request is in force; it does not wait until the holder is
// gone. A second one changes nothing. Owners tells the tokens. The error is ErrNotHeld
// if nobody has that one; blocking and outcomes are those of every agreement call.
func (l *Lock) Break(ctx context.Context, token uint64) error {
	const op = "break"
	err := l.check(nil)
	if err == nil && token == 0 {
		err = invalid("a token is needed to say whose hold is meant")
	}
	if err != nil {
		return notDone(op, l.name, err)
	}
	r, err := l.places.Replica().Propose(ctx, &statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{
		Queue: l.queue(), Token: token,
	}}})
	if err != nil {
		return outcome.With(op, l.name, err, outcome.Unknown)
	}
	return answered(op, l.name, r)
}
