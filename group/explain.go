package group

import (
	"context"
	"fmt"
	"strings"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
)

// Explanation tells all there is to know about a group, for people and for tools.
type Explanation struct {
	Name string
	// Leaders is how many lead where order is by PID; 0 where it is by arrival.
	Leaders int
	View
}

// Explain returns everything about the group. It blocks and fails as Members does.
func (g *Group) Explain(ctx context.Context) (Explanation, error) {
	s, err := g.read(ctx, "explain", 0)
	if err != nil {
		return Explanation{}, err
	}
	return Explanation{Name: g.name, Leaders: int(s.order), View: s.view(g.places.SessionID())}, nil
}

// String returns a line about the group and one about each member. Names and data
// are quoted where they are odd.
func (e Explanation) String() string {
	var b strings.Builder
	switch n := len(e.Members); n {
	case 0:
		fmt.Fprintf(&b, "group %q: nobody is in it", e.Name)
	default:
		fmt.Fprintf(&b, "group %q: %d %s, in order %s", e.Name, n, plural("member", n), order(uint64(e.Leaders)))
	}
	fmt.Fprintf(&b, " (revision %d)\n", e.Revision)
	for _, m := range e.Members {
		fmt.Fprintf(&b, "%3d. %s\n", m.Index+1, m)
	}
	return b.String()
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// maxShown is how many bytes of a member's data String shows.
const maxShown = 64

// String tells name, home, token, age and the beginning of the data, in one line.
func (m Member) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q on %s", m.Name, m.Node)
	if m.Client != "" {
		fmt.Fprintf(&b, " for client %q", m.Client)
	}
	if m.Self {
		b.WriteString(" (this one)")
	}
	fmt.Fprintf(&b, ", token %d, joined %v ago", m.Token, m.Age)
	if m.Revoked {
		b.WriteString(", asked to go")
	}
	switch n := len(m.Data); {
	case n > maxShown:
		fmt.Fprintf(&b, ", data %q… (%d bytes)", m.Data[:maxShown], n)
	case n > 0:
		fmt.Fprintf(&b, ", data %q", m.Data)
	}
	return b.String()
}

// Break asks the member with that token to go: its seat's context ends with
// ErrBroken. Nobody takes its place before it has left, or its session has ended
// (S13): so whoever works in that place can stop first, and a program that does not
// care goes on holding it. Where order is by PID, one that does not lead yet is
// removed at once.
//
// Break returns when the request is in force; it does not wait until the member is
// gone. A second one changes nothing. The error is ErrNoSeat if nobody has the token;
// blocking and outcomes are those of Join.
func (g *Group) Break(ctx context.Context, token uint64) error {
	const op = "break"
	err := g.check()
	if err == nil && token == 0 {
		err = invalid("a token is needed to say which seat is meant")
	}
	if err != nil {
		return notDone(op, g.name, err)
	}
	r, err := g.replica.Propose(ctx, &statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{
		Queue: g.queue(), Token: token,
	}}})
	if err != nil {
		return outcome.With(op, g.name, err, outcome.Unknown)
	}
	return answered(op, g.name, r)
}
