package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// lineBug is a fault that a line may have; 0 is none.
type lineBug int

const (
	soundLine lineBug = iota
	grantsTooMany
	letsOvertake
	repeatsTokens
	takesAway      // a place whose holder believes to have it
	breaksHolders  // removes them at once
	forgetsWaiters // removes one who waits
	revives        // puts a former place back
	ignoresGuards  // does guarded writes whatever stands in line
	refusesHolders // refuses guarded writes of those who hold
	looksBack      // tells what was true before
	lastLineBug
)

// queue is a line as a service keeps it: correct, unless it has a bug.
type queue struct {
	bug      lineBug
	limit    int
	revision uint64
	places   []Standing
	past     []Standing
}

// strikes reports whether the bug shows now.
func (q *queue) strikes(b lineBug, chance *rand.Rand) bool { return q.bug == b && chance.IntN(4) == 0 }

func (q *queue) enter(label string, chance *rand.Rand) uint64 {
	q.revision++
	p := Standing{q.revision, label}
	if len(q.past) > 0 && q.at(q.past[0].Token) < 0 && q.strikes(repeatsTokens, chance) {
		p.Token = q.past[0].Token
	}
	if q.strikes(letsOvertake, chance) {
		q.places = slices.Insert(slices.Clone(q.places), 0, p)
	} else {
		q.places = append(slices.Clip(q.places), p)
	}
	return p.Token
}

func (q *queue) at(token uint64) int {
	return slices.IndexFunc(q.places, func(p Standing) bool { return p.Token == token })
}

func (q *queue) leave(token uint64) {
	if i := q.at(token); i >= 0 {
		q.past = q.places
		q.revision++
		q.places = slices.Delete(slices.Clone(q.places), i, i+1)
	}
}

func (q *queue) holds(token uint64, chance *rand.Rand) bool {
	i := q.at(token)
	return i >= 0 && (i < q.limit || q.strikes(grantsTooMany, chance))
}

// contender is one client of the line.
type contender struct {
	id     int
	stage  string
	hold   *Hold
	token  uint64
	write  *Call
	effect *Result
	look   *Look
	seen   []Standing
	at     uint64
}

// throng lets clients take turns with a line: what they ask is done between their turns, so
// that intervals overlap in all ways.
type throng struct {
	*History
	queue  *queue
	chance *rand.Rand
	lost   []func() // what is done some time, or never
	count  int
}

func (w *throng) turn(c *contender) {
	q, roll := w.queue, w.chance.IntN(10)
	switch c.stage {
	case "":
		c.hold, c.token, c.stage = w.Ask(c.id, "l", q.limit), 0, "asked"
		if roll == 0 { // it dies before it hears of it
			label := c.hold.Label()
			c.hold.Quit()
			w.lost = append(w.lost, func() { w.lost = append(w.lost, w.leaver(q.enter(label, w.chance))) })
			c.stage = ""
		}
	case "asked":
		c.token = q.enter(c.hold.Label(), w.chance)
		if c.stage = "waits"; roll < 2 {
			c.hold.Entered(c.token)
		}
	case "waits":
		switch {
		case q.at(c.token) < 0: // broken
			c.hold.Quit()
			c.stage = ""
		case roll == 0:
			c.hold.Quit()
			w.lost = append(w.lost, w.leaver(c.token))
			c.stage = ""
		case q.holds(c.token, w.chance):
			c.hold.Granted(c.token)
			c.stage = "holds"
		}
	case "holds":
		switch {
		case q.strikes(takesAway, w.chance):
			q.leave(c.token)
		case roll < 5:
			w.count++
			c.write, c.effect, c.stage = guarded(w.History, c.hold, fmt.Sprint(w.count)), nil, "writes"
		case roll < 7:
			c.hold.Over()
			c.stage = "releases"
		case roll == 7: // as if the session had run out: it tries to write all the same
			c.hold.Over()
			w.lost = append(w.lost, w.leaver(c.token))
			c.stage = "late"
		}
	case "late":
		if q.at(c.token) >= 0 && roll > 1 {
			return
		}
		w.count++
		c.write, c.effect, c.stage = guarded(w.History, c.hold, fmt.Sprint(w.count)), nil, "writes late"
	case "writes", "writes late":
		if c.effect == nil {
			c.effect = new(w.write(c))
			return
		}
		c.write.Return(*c.effect)
		if c.stage = "holds"; c.hold.tenure.over != never {
			c.stage = ""
		}
	case "releases":
		q.leave(c.token)
		c.stage = "released"
	case "released":
		if roll < 8 {
			c.hold.Gone()
		}
		c.stage = ""
	}
}

func (w *throng) leaver(token uint64) func() { return func() { w.queue.leave(token) } }

func (w *throng) write(c *contender) Result {
	q := w.queue
	ok := q.at(c.token) >= 0 && q.at(c.token) < q.limit
	switch {
	case ok && q.strikes(refusesHolders, w.chance), !ok && q.bug != ignoresGuards:
		return Result{NotHeld: true}
	}
	q.revision++
	return at(q.revision)
}

// watch lets somebody look, and break.
func (w *throng) watch(c *contender) {
	q := w.queue
	switch {
	case c.look == nil && w.chance.IntN(4) == 0 && len(q.places) > 0:
		w.breakOne(q.places[w.chance.IntN(len(q.places))].Token)
	case c.look == nil:
		c.look, c.at = w.Look("watch", "l"), 0
	case c.at == 0:
		if c.seen, c.at = q.places, q.revision; q.strikes(looksBack, w.chance) {
			c.seen = q.past
		}
	default:
		if w.chance.IntN(3) == 0 {
			w.Noticed("watch", "l", c.at, c.seen)
		} else {
			c.look.Saw(c.at, c.seen)
		}
		c.look = nil
	}
}

func (w *throng) breakOne(token uint64) {
	q := w.queue
	w.Breaking("l", token)
	if q.at(token) >= q.limit || q.bug == breaksHolders {
		q.leave(token)
	}
}

// blunder lets bugs show that need nobody's turn.
func (w *throng) blunder() {
	q := w.queue
	switch n := len(q.places); {
	case q.strikes(forgetsWaiters, w.chance) && n > q.limit:
		q.leave(q.places[n-1].Token)
	case q.strikes(revives, w.chance) && len(q.past) > n:
		q.revision++
		q.places = q.past
	}
}

// lineHistory is that of a throng at a line with the bug.
func lineHistory(seed uint64, bug lineBug, turns int) Record {
	chance := rand.New(rand.NewPCG(seed, uint64(bug)))
	q := &queue{bug: bug, limit: 1 + chance.IntN(2), revision: 1}
	w := &throng{History: NewHistory(), queue: q, chance: chance}
	contenders := make([]contender, 5)
	watcher := &contender{id: 9}
	for range turns {
		switch i := chance.IntN(len(contenders) + 2); {
		case i < len(contenders):
			contenders[i].id = i
			w.turn(&contenders[i])
		case i == len(contenders):
			w.watch(watcher)
		case len(w.lost) > 0 && chance.IntN(2) == 0:
			k := chance.IntN(len(w.lost))
			w.lost[k]()
			w.lost = slices.Delete(w.lost, k, k+1)
		}
		w.blunder()
	}
	return w.Record()
}

// TestLines: whatever a correct line tells its clients is accepted.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := lineHistory(rapid.Uint64().Draw(t, "seed"), soundLine, rapid.IntRange(1, 400).Draw(t, "turns"))
		if err := Judge(r); err != nil {
			var b strings.Builder
			r.WriteTo(&b)
			t.Fatalf("%v\n%s", err, b.String())
		}
	})
}

// TestLineBugs: each kind of fault is found, in most histories alone.
func TestLineBugs(t *testing.T) {
	for bug := soundLine + 1; bug < lastLineBug; bug++ {
		found := 0
		const tries = 20
		for seed := range uint64(tries) {
			if Judge(lineHistory(seed, bug, 600)) != nil {
				found++
			}
		}
		if found < tries/2 {
			t.Errorf("bug %d was found in %d of %d histories", bug, found, tries)
		}
	}
}
