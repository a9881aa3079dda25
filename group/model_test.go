package group_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// seatModel is what a group must be, and all its seats.
type seatModel struct {
	*world
	rt    *rapid.T
	seats []*modelSeat // in the order of joining, also those that have gone
}

type modelSeat struct {
	*group.Seat
	node    *node
	data    string
	gone    bool
	revoked bool
}

func (m *seatModel) standing() (all []*modelSeat) {
	for _, s := range m.seats {
		if !s.gone {
			all = append(all, s)
		}
	}
	return all
}

func (m *seatModel) drawNode() *node { return rapid.SampledFrom(m.nodes).Draw(m.rt, "node") }

func (m *seatModel) join() {
	n, name := m.drawNode(), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.rt, "name")
	taken := slices.ContainsFunc(m.standing(), func(s *modelSeat) bool {
		return s.node == n && s.Name() == name && !s.revoked
	})
	leaving := slices.ContainsFunc(m.standing(), func(s *modelSeat) bool {
		return s.node == n && s.Name() == name && s.revoked
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	seat, err := n.group("g").Join(ctx, group.Name(name), group.Data([]byte(name)))
	switch {
	case taken && !errors.Is(err, group.ErrTaken):
		m.rt.Fatalf("joined as %q twice: %v", name, err)
	case leaving && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, group.ErrTaken): // a delayed node does not know
		m.rt.Fatalf("joined as %q while the former seat stands: %v", name, err)
	case !taken && !leaving && err != nil:
		m.rt.Fatal(err)
	case err == nil:
		m.seats = append(m.seats, &modelSeat{Seat: seat, node: n, data: name})
	}
}

// drawSeat returns one that stands, nil if none does.
func (m *seatModel) drawSeat() *modelSeat {
	if all := m.standing(); len(all) > 0 {
		return rapid.SampledFrom(all).Draw(m.rt, "seat")
	}
	return nil
}

func (m *seatModel) step() {
	action := rapid.SampledFrom([]string{"join", "join", "join", "leave", "update", "break", "end", "delay"}).Draw(m.rt, "action")
	if action == "join" {
		m.join()
		return
	}
	if action == "delay" {
		m.drawNode().Delay(rapid.Bool().Draw(m.rt, "delayed"))
		return
	}
	s := m.drawSeat()
	if s == nil {
		return
	}
	var err error
	switch action {
	case "leave":
		err, s.gone = s.Leave(context.Background()), true
	case "update":
		s.data = rapid.StringMatching("[xyz]{0,3}").Draw(m.rt, "data")
		err = s.Update(context.Background(), []byte(s.data))
	case "break":
		err, s.revoked = m.drawNode().group("g").Break(context.Background(), s.Token()), true
	case "end":
		s.node.end()
		for _, other := range m.standing() {
			if other.node == s.node {
				other.gone = true
				if other.Context().Err() == nil {
					m.rt.Fatalf("%q is still relied on after its session", other.Name())
				}
			}
		}
	}
	if err != nil {
		m.rt.Fatalf("%s: %v", action, err)
	}
}

// check compares what each node tells with the model.
func (m *seatModel) check() {
	want := m.standing()
	for _, n := range m.nodes {
		members, err := n.group("g").Members(context.Background(), 0)
		if err != nil {
			m.rt.Fatal(err)
		}
		if len(members) != len(want) {
			m.rt.Fatalf("%s sees %v, want %d members", n.Name, members, len(want))
		}
		for i, s := range want {
			got := members[i]
			if got.Token != s.Token() || got.Index != i || got.Name != s.Name() || string(got.Data) != s.data ||
				got.Node != s.node.Name || got.Self != (s.node == n) || got.Revoked != s.revoked {
				m.rt.Fatalf("%s sees %+v at %d, want %q of %s", n.Name, got, i, s.Name(), s.node.Name)
			}
		}
	}
	synctest.Wait()
	for i, s := range want {
		if s.Index() != i || s.Leading(i) || s.Leading(i+1) == s.revoked || (s.Context().Err() != nil) != s.revoked {
			m.rt.Fatalf("%q is at %d, revoked %v, ended by %v; want %d", s.Name(), s.Index(), s.revoked, context.Cause(s.Context()), i)
		}
	}
	for _, s := range m.seats {
		if s.gone && (s.Index() != -1 || s.Leading(100) || s.Context().Err() == nil) {
			m.rt.Fatalf("%q is gone, but at %d", s.Name(), s.Index())
		}
	}
}

// follower reads a watch, sometimes slowly, and judges what it is told.
type follower struct {
	done   chan struct{}
	faults []string
	last   group.View
}

func follow(ctx context.Context, g *group.Group, slow *rand.Rand) *follower {
	f := &follower{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		first := true
		for v, err := range g.Watch(ctx) {
			if err != nil {
				f.faults = append(f.faults, err.Error())
				return
			}
			f.judge(v, first)
			f.last, first = v, false
			if slow != nil {
				time.Sleep(time.Duration(slow.IntN(50)) * time.Millisecond)
			}
		}
	}()
	return f
}

func (f *follower) judge(v group.View, first bool) {
	fault := func(format string, args ...any) { f.faults = append(f.faults, fmt.Sprintf(format, args...)) }
	if !first && v.Revision <= f.last.Revision {
		fault("revision %d after %d", v.Revision, f.last.Revision)
	}
	for i, m := range v.Members {
		if m.Index != i || i > 0 && m.Token <= v.Members[i-1].Token {
			fault("%+v at %d after %+v", m, i, v.Members[:i])
		}
		if before, ok := f.last.Find(m.Token); ok && before.Index < i {
			fault("%+v was at %d before", m, before.Index)
		}
	}
}

func TestModelOfSeats(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { // hides Deadline, which has no meaning in a bubble
			m := &seatModel{world: newWorld(t, 3), rt: rt}
			defer m.close()
			ctx, cancel := context.WithCancel(context.Background())
			watchers := []*follower{
				follow(ctx, m.nodes[0].group("g"), nil),
				follow(ctx, m.nodes[1].group("g"), rand.New(rand.NewPCG(1, 2))),
			}
			defer func() {
				cancel()
				for _, f := range watchers {
					<-f.done
				}
			}()
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				m.step()
				if rapid.Bool().Draw(rt, "check") {
					m.check()
				}
			}
			for _, n := range m.nodes {
				n.Delay(false)
			}
			m.check()
			time.Sleep(time.Second)
			synctest.Wait()
			want, _ := m.nodes[0].group("g").Members(ctx, 0)
			for i, f := range watchers {
				if len(f.faults) > 0 || !slices.Equal(names(f.last.Members), names(want)) {
					rt.Fatalf("watcher %d ends with %v, want %v; %q", i, f.last, want, f.faults)
				}
			}
			for _, s := range m.standing() {
				if err := s.Leave(ctx); err != nil {
					rt.Fatal(err)
				}
			}
			if got := m.stands("g"); len(got) != 0 {
				rt.Fatalf("left behind: %v", got)
			}
		})
	})
}

// storm is many who lead, on nodes whose sessions end and whose commands fail.
type storm struct {
	*world
	leaders int

	mu      sync.Mutex
	rand    *rand.Rand
	calm    bool
	running map[*run]bool
	faults  []string
}

type run struct {
	ctx            context.Context
	token, session uint64
	finish         chan error
}

// flake makes commands of n fail before or after they are done.
func (s *storm) flake(n *node) {
	fail := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.calm && s.rand.IntN(6) == 0 {
			return fmt.Errorf("injected: %w", outcome.ErrNoQuorum)
		}
		return nil
	}
	delay := func(ctx context.Context) {
		s.mu.Lock()
		d := time.Duration(s.rand.IntN(3)) * time.Millisecond
		s.mu.Unlock()
		time.Sleep(d)
	}
	n.BeforePropose = func(ctx context.Context, _ *statepb.Command) error { delay(ctx); return fail() }
	n.AfterPropose = func(ctx context.Context, _ *statepb.Command) error { delay(ctx); return fail() }
}

func (s *storm) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// work is what each of them runs.
func (s *storm) work(ctx context.Context) error {
	r := &run{ctx: ctx, token: group.SeatOf(ctx).Token(), finish: make(chan error)}
	for _, slot := range s.slots("g") {
		if slot.Token == r.token {
			r.session = slot.Session
		}
	}
	s.mu.Lock()
	s.running[r] = true
	live := 0
	for other := range s.running {
		if other.ctx.Err() == nil {
			live++
		}
	}
	if live > s.leaders {
		s.fault("%d work at the same time, %d may", live, s.leaders)
	}
	s.mu.Unlock()
	var err error
	select {
	case err = <-r.finish:
	case <-ctx.Done():
		s.mu.Lock()
		d := time.Duration(s.rand.IntN(1000)) * time.Millisecond
		s.mu.Unlock()
		time.Sleep(d) // work takes its time to end
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.stands(r) {
			s.fault("the place %d was given up while its work runs, after %v", r.token, context.Cause(ctx))
		}
		delete(s.running, r)
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, r)
	return err
}

// stands reports whether the place of r stands, or has gone with its session.
func (s *storm) stands(r *run) (yes bool) {
	s.cluster.View(func(m *state.Machine) {
		if _, there := m.Session(r.session); !there {
			yes = true
			return
		}
		q, _ := m.Queue(statepb.QueueName_GROUP, "g")
		_, yes = q.Find(r.token)
	})
	return yes
}

func (s *storm) oneOfRunning() *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*run
	for r := range s.running {
		if r.ctx.Err() == nil {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *run) int { return int(a.token) - int(b.token) })
	return all[s.rand.IntN(len(all))]
}

func TestStormOfLeaders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { // hides Deadline, which has no meaning in a bubble
			leaders := rapid.IntRange(1, 3).Draw(rt, "leaders")
			seed := rapid.Uint64().Draw(rt, "seed")
			s := &storm{world: newWorld(t, 3), leaders: leaders, running: make(map[*run]bool), rand: rand.New(rand.NewPCG(seed, 0))}
			defer s.close()
			for _, n := range s.nodes {
				s.flake(n)
			}
			var options []group.Option
			if rapid.Bool().Draw(rt, "by PID") {
				options = append(options, group.ByPID(leaders))
			}
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			defer wg.Wait()
			defer cancel()
			members := rapid.IntRange(1, 8).Draw(rt, "members")
			for i := range members {
				g := s.nodes[i%len(s.nodes)].group("g", options...)
				wg.Go(func() {
					for ctx.Err() == nil {
						g.Lead(ctx, leaders, s.work, group.Name(fmt.Sprint(i)))
					}
				})
			}
			for range rapid.IntRange(1, 30).Draw(rt, "steps") {
				time.Sleep(time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms")) * time.Millisecond)
				switch rapid.SampledFrom([]string{"finish", "end", "break", "delay"}).Draw(rt, "action") {
				case "finish":
					if r := s.oneOfRunning(); r != nil {
						select {
						case r.finish <- nil:
						case <-r.ctx.Done():
						}
					}
				case "end":
					if n := rapid.SampledFrom(s.nodes).Draw(rt, "node"); n.SessionID() != 0 {
						n.end()
					}
				case "break":
					if slots := s.slots("g"); len(slots) > 0 {
						token := rapid.SampledFrom(slots).Draw(rt, "slot").Token
						s.cluster.Propose(&statepb.Command{Op: &statepb.Command_Revoke{Revoke: &statepb.Revoke{
							Queue: &statepb.QueueName{Kind: statepb.QueueName_GROUP, Name: "g"}, Token: token,
						}}})
					}
				case "delay":
					rapid.SampledFrom(s.nodes).Draw(rt, "node").Delay(rapid.Bool().Draw(rt, "delayed"))
				}
			}
			s.settle(rt, min(leaders, members))
			cancel()
			wg.Wait()
			time.Sleep(time.Minute)
			if got := s.slots("g"); len(got) != 0 {
				rt.Fatalf("after the storm stand %v", got)
			}
			if len(s.faults) > 0 {
				rt.Fatalf("%q", s.faults)
			}
		})
	})
}

// settle ends the storm: then as many work as should.
func (s *storm) settle(rt *rapid.T, want int) {
	s.mu.Lock()
	s.calm = true
	s.mu.Unlock()
	for _, n := range s.nodes {
		n.Delay(false)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) != want {
		rt.Fatalf("%d work, want %d; in the group: %v", len(s.running), want, s.slots("g"))
	}
}
