package check

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/outcome"
)

// History records what concurrent clients and watchers do. It is safe for
// concurrent use and never blocks for long.
type History struct {
	start time.Time

	mu     sync.Mutex // guards all below
	seq    int64
	calls  []*Call
	feeds  []*Feed
	holds  []*Hold
	sights []*Sight
	breaks []Break
}

// NewHistory returns an empty history, whose times count from now.
func NewHistory() *History { return &History{start: time.Now()} }

// moment is one point of a history: its place in the order of all, and when it was,
// for the reader.
type moment struct {
	seq int64
	at  time.Duration
}

// never is the end of what has none.
var never = moment{seq: math.MaxInt64, at: math.MaxInt64}

func (h *History) nowLocked() moment {
	h.seq++
	return moment{h.seq, time.Since(h.start)}
}

// Call is an operation under way.
type Call struct {
	h  *History
	op Operation
}

// Operation is one operation of a recorded history.
type Operation struct {
	// ID is the operation's place in the order of calls, from 1.
	ID     int
	Client int
	Op     Op
	// Result is the zero Result with outcome.Unknown while the operation has not
	// returned.
	Result           Result
	called, returned moment
}

// Call records that client asks op now. A call that never returns counts as one
// whose outcome is unknown.
func (h *History) Call(client int, op Op) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Call{h: h, op: Operation{ID: len(h.calls) + 1, Client: client, Op: op,
		Result: Result{Outcome: outcome.Unknown}, called: h.nowLocked(), returned: never}}
	h.calls = append(h.calls, c)
	return c
}

// Return records the answer. It is called at most once.
func (c *Call) Return(r Result) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.op.Result = r
	c.op.returned = c.h.nowLocked()
}

// Do records op as asked by client, and does it through c. It blocks as long as c
// does.
func (h *History) Do(ctx context.Context, client int, c Client, op Op) Result {
	call := h.Call(client, op)
	r := c.Do(ctx, op)
	call.Return(r)
	return r
}

// Record is a history at one moment. It shares memory with the history and is
// read-only.
type Record struct {
	Operations []Operation // in the order of their calls
	Streams    []Stream    // in the order of their beginnings
	Tenures    []Tenure    // in the order of their beginnings
	Sights     []*Sight    // in the order of their ends
	Breaks     []Break
}

// Record returns what was recorded until now. The recording may go on.
func (h *History) Record() Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r Record
	for _, c := range h.calls {
		r.Operations = append(r.Operations, c.op)
	}
	for _, f := range h.feeds {
		r.Streams = append(r.Streams, f.stream)
	}
	for _, hold := range h.holds {
		r.Tenures = append(r.Tenures, hold.tenure)
	}
	r.Sights, r.Breaks = slices.Clone(h.sights), slices.Clone(h.breaks)
	return r
}

// Lines tells, for the reader of a test's log, what there is to judge about the lines.
func (r Record) Lines() string {
	count := make(map[string]int)
	for _, t := range r.Tenures {
		count["attempts"]++
		if t.granted != never {
			count["granted"]++
		}
		if t.head != 0 {
			count["refused"]++
		}
		if t.granted != never && t.gone == never {
			count["lost or left without an answer"]++
		}
		for _, id := range t.Guarded {
			switch o := r.Operations[id-1]; {
			case o.done():
				count["guarded writes"]++
			case o.Result.NotHeld:
				count["refused writes"]++
			}
		}
	}
	count["sights"], count["breaks"] = len(r.Sights), len(r.Breaks)
	return fmt.Sprint(count)[len("map"):]
}

// done reports whether the operation is known to have been done.
func (o *Operation) done() bool { return o.Result.Outcome == outcome.Done }

// perhaps reports whether the operation may have changed something, now or later.
func (o *Operation) perhaps() bool { return o.Result.Outcome == outcome.Unknown && o.Op.writes() }

// String returns the operation on one line: ID, client, interval, question, answer.
func (o Operation) String() string {
	end := "…"
	if o.returned != never {
		end = fmt.Sprintf("%.6f", o.returned.at.Seconds())
	}
	return fmt.Sprintf("#%d client %d [%.6f %s] %v -> %v", o.ID, o.Client, o.called.at.Seconds(), end, o.Op, o.Result)
}

// WriteTo writes the record as text: a line for each operation, event, tenure, and
// sight of a line.
func (r Record) WriteTo(w io.Writer) (int64, error) {
	n := int64(0)
	line := func(format string, args ...any) error {
		k, err := fmt.Fprintf(w, format+"\n", args...)
		n += int64(k)
		return err
	}
	for _, o := range r.Operations {
		if err := line("%v", o); err != nil {
			return n, err
		}
	}
	for _, s := range r.Streams {
		if err := line("%v", s); err != nil {
			return n, err
		}
		for i, e := range s.Events {
			if err := line("  [%.6f] %v", s.seen[i].at.Seconds(), e); err != nil {
				return n, err
			}
		}
	}
	for _, t := range r.Tenures {
		if err := line("%v", t); err != nil {
			return n, err
		}
	}
	for _, s := range r.Sights {
		if err := line("%v", s); err != nil {
			return n, err
		}
	}
	for _, b := range r.Breaks {
		if err := line("%v", b); err != nil {
			return n, err
		}
	}
	return n, nil
}
