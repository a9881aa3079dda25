package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kith-go/kith/httpapi"
)

// agreementAct shows that keys are the same everywhere, and outlive a leader.
var agreementAct = act{"agreement", []step{
	{"write a key on alpha", writeKeyOnAlpha},
	{"read it on charlie", readKeyOnCharlie},
	{"kill the leader (SIGKILL) amid writes", killLeader},
	{"start the killed one again", restartLeader},
}}

const (
	greetingKey = "demo/greeting"
	greeting    = "good morning"
	// numbered is what the keys of the writer begin with.
	numbered = "demo/write/"
	// writesBefore and writesAfter are how many writes are acknowledged before the leader is
	// killed and after it.
	writesBefore, writesAfter = 200, 400
)

// founders are the agents that the cluster counts; delta came later.
var founders = []string{"alpha", "bravo", "charlie"}

func writeKeyOnAlpha(ctx context.Context, s *stage) (string, error) {
	revision, err := s.agents["alpha"].api.Set(ctx, greetingKey, []byte(greeting), httpapi.WriteOptions{})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("it is on the disks of a majority, as revision %d", revision), nil
}

func readKeyOnCharlie(ctx context.Context, s *stage) (string, error) {
	entry, err := s.agents["charlie"].api.Get(ctx, greetingKey)
	if err != nil {
		return "", err
	}
	if string(entry.Value) != greeting {
		return "", fmt.Errorf("charlie reads %q", entry.Value)
	}
	return fmt.Sprintf("charlie reads %q, at revision %d", entry.Value, entry.Revision), nil
}

// killLeader kills the leader while another agent is given one write after the other, and
// reads back what was acknowledged.
func killLeader(ctx context.Context, s *stage) (string, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(founders, func(name string) bool { return name != leader })
	through := s.agents[founders[i]]
	w := &writer{api: through.api, warm: make(chan struct{}), killed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	select {
	case <-w.warm:
		s.agents[leader].kill()
		close(w.killed)
	case err := <-done:
		return "", errors.Join(err, errors.New("the writer stopped before anything happened"))
	}
	s.killed = leader
	if err := <-done; err != nil {
		return "", err
	}
	s.acknowledged = w.acknowledged
	if err := s.readBack(ctx, through); err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s led; %d writes through %s, none lost, longest gap %d ms",
		leader, len(w.acknowledged), through.name, w.gap.Milliseconds())
	if w.failed > 0 {
		seen += fmt.Sprintf(" (%s not acknowledged)", count(w.failed, "other"))
	}
	return seen, nil
}

// restartLeader starts the killed leader again and reads everything there.
func restartLeader(ctx context.Context, s *stage) (string, error) {
	if err := s.start(ctx, s.killed); err != nil {
		return "", err
	}
	if err := s.readBack(ctx, s.agents[s.killed]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has all %d writes, too", s.killed, len(s.acknowledged)), nil
}

// leader asks until an agent knows who leads.
func (s *stage) leader(ctx context.Context) (string, error) {
	for {
		for _, name := range founders {
			status, err := s.agents[name].api.Status(ctx)
			if err != nil {
				return "", err
			}
			if g := status.Agreement; g != nil && g.Leader != "" && s.agents[g.Leader] != nil {
				return g.Leader, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no agent knows a leader: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// readBack makes sure that an agent has every write that was acknowledged.
func (s *stage) readBack(ctx context.Context, a *agent) error {
	there := make(map[string]string)
	for after := ""; ; {
		page, err := a.api.List(ctx, numbered, after, 0)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			there[e.Key] = string(e.Value)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	lost := 0
	for _, n := range s.acknowledged {
		if there[numberedKey(n)] != strconv.Itoa(n) {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("%s lacks %d of %d acknowledged writes", a.name, lost, len(s.acknowledged))
	}
	return nil
}

func numberedKey(n int) string { return fmt.Sprintf("%s%06d", numbered, n) }

// writer writes numbered keys one after the other through one agent.
type writer struct {
	api *httpapi.Client
	// warm is closed by the writer after writesBefore writes, killed when the leader is dead.
	warm, killed chan struct{}
	// acknowledged are the numbers whose writes were, gap the longest time between two of
	// those, from the kill on or a little before.
	acknowledged []int
	gap          time.Duration
	failed       int
}

// run writes until enough writes were acknowledged. One that fails is not repeated, since it
// may be done; the next number follows.
func (w *writer) run(ctx context.Context) error {
	var last time.Time
	for n, after := 0, 0; after < writesAfter; n++ {
		_, err := w.api.Set(ctx, numberedKey(n), []byte(strconv.Itoa(n)), httpapi.WriteOptions{})
		if ctx.Err() != nil {
			return fmt.Errorf("after %d writes: %w", len(w.acknowledged), context.Cause(ctx))
		}
		if err != nil {
			w.failed++
			time.Sleep(time.Millisecond) // rather than fail as often as a loop can
			continue
		}
		w.acknowledged = append(w.acknowledged, n)
		now := time.Now()
		switch count := len(w.acknowledged); {
		case count == writesBefore:
			close(w.warm)
		case count > writesBefore:
			w.gap = max(w.gap, now.Sub(last))
		}
		last = now
		select {
		case <-w.killed:
			after++
		default:
		}
	}
	return nil
}
