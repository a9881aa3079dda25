package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/stage/smoke"
)

func TestMain(m *testing.M) { smoke.Main(m, main) }

func needLibzmq(t *testing.T) {
	t.Helper()
	if len(libzmqKinds) == 0 {
		t.Skip("WITHOUT libzmq: this program was built without it")
	}
}

// A little of everything, in half a minute on an idle machine. It shows that the
// benchmark works.
func TestSmoke(t *testing.T) {
	needLibzmq(t)
	ratio := func(name, rival string) string {
		return name + ` vs ` + rival + `: kith \d+/s ` + rival + ` \d+/s ratio \d+\.\d`
	}
	smoke.Run(t, []string{"-quick"}, []string{
		ratio(`requests c=1`, "nats"),
		ratio(`requests c=64`, "libzmq"),
		ratio(`requests c=64`, "grpc"),
		ratio(`requests of 64 KiB c=1`, "grpc"),
		ratio(`requests of 1 MiB c=1`, "tcp"),
		ratio(`publications 1 to 8`, "nats"),
		ratio(`encrypted requests c=64`, "libzmq"),
		ratio(`encrypted requests c=64`, "nats"),
		ratio(`encrypted requests of 1 MiB c=1`, "tcp"),
		ratio(`encrypted publications 1 to 8`, "nats"),
		`CPU per 10k requests c=64 vs nats: kith \S+ s nats \S+ s ratio \d+\.\d`,
		`peer killed to requests under way failed: kith \S+ ms grpc \S+ ms ratio \S+`,
		`peer killed to new requests failed: kith \S+ ms tcp \S+ ms ratio \S+`,
		`peer stopped to requests under way failed, in heartbeats: kith \S+`,
		`idle CPU of a node with 5 peers: kith \S+ %`,
		`memory per peer of a node with 5: kith \S+ KiB`,
		`threads of a node with 5 peers: kith \d+`,
	})
}

// Whatever the children are doing, an interrupt ends them and leaves nothing, C's loops
// neither.
func TestInterrupt(t *testing.T) {
	needLibzmq(t)
	smoke.Interrupt(t, []string{"-systems", "libzmq", "-time", "1h", "-only", "^requests c=1$"}, "plain requests", 2)
}

func TestOptions(t *testing.T) {
	needLibzmq(t)
	o, err := parse([]string{"-quick", "-kills", "3", "-systems", "kith,nats"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Kills != 3 || o.Rounds != 1 || o.peers != 5 || o.Conns != 1 || strings.Join(o.Systems, " ") != "kith nats" {
		t.Errorf("-quick, with flags beside it, is %+v", o)
	}
	if o, err = parse(nil); err != nil || o.Kills != 20 || o.peers != 100 || len(o.Systems) != 5 {
		t.Errorf("the defaults are %+v, error %v", o, err)
	}
	for _, args := range [][]string{{"-peers", "0"}, {"-systems", "etcd"}, {"-only", "("}, {"surplus"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// What is chosen by a figure's name is what the figure is made of, no more.
func TestWanted(t *testing.T) {
	needLibzmq(t)
	for _, test := range []struct{ only, want string }{
		{"^requests c=64 vs nats$", "plain requests kith 64, plain requests nats 64"},
		{"^CPU per 10k requests c=64 vs grpc$", "plain requests kith 64, plain requests grpc 64"},
		{"^CPU per 10k requests c=1 vs grpc$", ""},
		{"^encrypted requests of 1 MiB c=1 vs tcp$", "encrypted requests of 1 MiB kith 1, encrypted requests of 1 MiB tcp 1"},
		{"^publications 1 to 8$", "plain publications 1 to 8 kith 1, plain publications 1 to 8 nats 1, plain publications 1 to 8 grpc 1, plain publications 1 to 8 tcp 1"},
		{"^peer killed", ""},
	} {
		o, err := parse([]string{"-only", test.only, "-systems", "kith,nats,grpc,tcp"})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{options: o}
		for _, system := range o.Systems {
			b.contenders = append(b.contenders, &stage.Contender{Name: system})
		}
		var got []string
		for _, r := range grid(o) {
			for _, who := range b.contenders {
				for _, n := range r.callers {
					if m := (stage.Cell{Who: who, Op: r.op, At: r.at, Callers: n}); b.wanted(m) {
						got = append(got, strings.Join([]string{string(m.At), m.Op, who.Name, strings.TrimPrefix(rateName(stage.Cell{Callers: n}, ""), " c=")}, " "))
					}
				}
			}
		}
		if got := strings.Join(got, ", "); got != test.want {
			t.Errorf("-only %q measures %q, want %q", test.only, got, test.want)
		}
	}
}

// slowing is an audience in this process, of which one loses every so many messages.
type slowing struct {
	bystander
	acks  *acks
	loses int
	sent  int
}

func (s *slowing) publisher(int) func() error {
	return func() error {
		s.sent++
		for i := range subscribers {
			if i != 3 || s.loses == 0 || s.sent%s.loses != 0 {
				s.acks.got(i, nil)
			} else {
				s.acks.got(i, errors.New("lost"))
			}
		}
		return nil
	}
}

// A publication counts when all have it, and one that is lost is not passed over.
func TestPublishing(t *testing.T) {
	for _, loses := range []int{0, 1000} {
		a, err := newAcks()
		if err != nil {
			t.Fatal(err)
		}
		q := &publishing{Loop: stage.Loop{Warm: 10 * time.Millisecond, Window: 200 * time.Millisecond}, Size: 128, Acks: a.places()[0].Port}
		p := &slowing{acks: a, loses: loses}
		result, err := q.Run(t.Context(), p)
		a.close()
		if (err == nil) != (loses == 0) {
			t.Errorf("losing each %dth: %v", loses, err)
		}
		if err != nil {
			continue
		}
		if done := result.(*stage.Sample).Done(); done == 0 || done%publishBatch != 0 || done > uint64(p.sent) {
			t.Errorf("%d of %d publications counted", done, p.sent)
		}
	}
}

// mortal is a system whose requests fail when its server's process has ended.
type mortal struct {
	bystander
	asker
	died  chan struct{}
	early error // what becomes of requests before that; nil for nothing
	tries atomic.Int32
}

func (m *mortal) hang(context.Context) error {
	if m.early != nil {
		return m.early
	}
	<-m.died
	time.Sleep(20 * time.Millisecond)
	return errors.New("it is dead")
}

func (m *mortal) try(context.Context) error {
	m.tries.Add(1)
	select {
	case <-m.died:
		return errors.New("it is dead")
	default:
		return nil
	}
}

// The times count from the signal on, and a request that failed before tells nothing.
func TestEnding(t *testing.T) {
	for _, early := range []error{nil, errors.New("refused")} {
		victim := exec.Command("sleep", "60")
		if err := victim.Start(); err != nil {
			t.Skip("no sleep(1) to kill:", err)
		}
		m := &mortal{died: make(chan struct{}), early: early}
		var wg sync.WaitGroup
		wg.Go(func() {
			victim.Wait()
			close(m.died)
		})
		q := &ending{PID: victim.Process.Pid, Signal: syscall.SIGKILL, Pending: 5, Before: 20 * time.Millisecond, Limit: stage.RecoverLimit}
		result, err := q.Run(t.Context(), m)
		victim.Process.Kill() // nothing new, if all is well
		wg.Wait()
		if early != nil {
			if err == nil {
				t.Error("a request that failed before the signal passes for one that noticed")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := result.(*noticed); n.Pending < 20*time.Millisecond || n.New > n.Pending || m.tries.Load() == 0 {
			t.Errorf("noticed %+v after %d tries", n, m.tries.Load())
		}
	}
}
