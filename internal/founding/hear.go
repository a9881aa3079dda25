package founding

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// minPause and maxPause bound the time between two rounds of questions. Who has
	// news asks by itself, and so makes the others ask: the pause only matters when
	// messages are lost.
	minPause = 250 * time.Millisecond
	maxPause = time.Second
	// slowPause is that of a node that the cluster does not count in.
	slowPause = 10 * time.Second
	// minGap keeps news from making rounds follow one another too fast.
	minGap = 20 * time.Millisecond

	helloTimeout   = 2 * time.Second
	promiseTimeout = 5 * time.Second
	joinTimeout    = 10 * time.Second
	// tellTimeout is how long the first member waits for the others to hear of the
	// birth before it goes on; they ask anyway.
	tellTimeout = 500 * time.Millisecond
	// decidedGrace is how long the others are still waited for when one has told of
	// a cluster.
	decidedGrace = 250 * time.Millisecond
	// maxWitnesses bounds the members of a cluster that are asked again and again.
	maxWitnesses = 3
	// maxAsking bounds the questions under way.
	maxAsking = 32
)

// hear asks those that matter how they stand.
func (f *Founder) hear(ctx context.Context) round {
	f.mu.Lock()
	r := round{
		plan:    f.plan,
		number:  f.rounds,
		reports: make(map[string]report),
		faults:  make(map[string]error),
		known:   make(map[string]string),
	}
	f.rounds++
	for name, rep := range f.heard {
		r.known[name] = rep.Directory
	}
	asked := f.whomLocked(r.number)
	f.mu.Unlock()
	f.greet(ctx, &r, asked)
	r.id = f.Identity() // a promise may have been given meanwhile
	return r
}

// whomLocked returns whom to ask in a round: all who vote, now or in the record that
// this node is bound to; some that are known to belong to a cluster; and one of the
// other peers, another one each time, since a member of a cluster may be any of them.
func (f *Founder) whomLocked(number int) []string {
	whom := make(map[string]bool)
	for _, p := range f.plan.voters() {
		whom[p.Name] = true
	}
	if f.id.Promise != nil {
		for _, m := range f.id.Promise.Voters() {
			whom[m.Name] = true
		}
	}
	members := 0
	for name, rep := range f.heard {
		if rep.Record != nil && members < maxWitnesses {
			whom[name] = true
			members++
		}
	}
	if learners := f.plan.learners(); len(learners) > 0 {
		whom[learners[number%len(learners)].Name] = true
	}
	delete(whom, f.cfg.Name)
	list := make([]string, 0, len(whom))
	for name := range maps.Keys(whom) {
		list = append(list, name)
	}
	return list
}

// greet asks the named nodes how they stand, and adds that to r.
func (f *Founder) greet(ctx context.Context, r *round, whom []string) {
	questions := make(map[string]question, len(whom))
	for _, name := range whom {
		questions[name] = f.question(hello, name, "", nil)
	}
	answers, faults := f.askAll(ctx, questions, helloTimeout, func(a answer) bool { return a.From.Record != nil })
	for name, a := range answers {
		r.reports[name] = a.From
		f.remember(a.From)
	}
	maps.Copy(r.faults, faults)
}

// remember notes what a peer said of itself, and reports whether that is news.
func (f *Founder) remember(rep report) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, known := f.heard[rep.Name]
	if !named(f.plan.Peers, rep.Name) || known && old.same(rep) {
		return false
	}
	f.heard[rep.Name] = rep
	return true
}

// report returns how this node stands.
func (f *Founder) report() report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return report{
		Name: f.id.Name, Directory: f.id.Directory, Plan: f.plan,
		Promise: f.id.Promise, Record: f.id.Record, Out: f.ended != nil,
	}
}

func (f *Founder) question(v verb, to, directory string, rec *Record) question {
	return question{Version: version, Verb: v, From: f.report(), To: to, ToDirectory: directory, Record: rec}
}

// askAll puts the questions, many at a time, and returns the answers and why others
// did not come. Each may take the timeout; once an answer is enough, the others get
// only a little more time.
func (f *Founder) askAll(ctx context.Context, questions map[string]question, timeout time.Duration, enough func(answer) bool) (map[string]answer, map[string]error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the maps and grace
	answers, faults := make(map[string]answer), make(map[string]error)
	var grace *time.Timer
	slots := make(chan struct{}, maxAsking)
	for name, q := range questions {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a, err := f.askOne(ctx, name, q, timeout)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults[name] = err
				return
			}
			answers[name] = a
			if grace == nil && enough != nil && enough(a) {
				grace = time.AfterFunc(decidedGrace, func() { cancel(errEnough) })
			}
		})
	}
	wg.Wait()
	if grace != nil {
		grace.Stop()
	}
	return answers, faults
}

var errEnough = errors.New("others had answered by then")

func (f *Founder) askOne(ctx context.Context, name string, q question, timeout time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := f.cfg.Ask(ctx, name, q.encode())
	if err != nil {
		return answer{}, err
	}
	a, err := decodeAnswer(b)
	if err == nil && a.From.Name != name {
		err = errWrongName(a.From.Name)
	}
	return a, err
}

var errAnswer = errors.New("its answer makes no sense")

func errWrongName(got string) error {
	return fmt.Errorf("%w: it calls itself %q", errAnswer, printable(got))
}

// rest waits before the next round, and reports whether news ended that.
func (f *Founder) rest(ctx context.Context, pause time.Duration) (news bool) {
	gap := time.NewTimer(minGap)
	defer gap.Stop()
	timer := time.NewTimer(pause*3/4 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-gap.C:
	case <-ctx.Done():
		return false
	}
	select {
	case <-f.kick:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}
