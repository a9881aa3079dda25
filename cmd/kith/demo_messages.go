package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/transport"
)

// messagesAct shows that peers talk to each other, notice at once when one dies, and find it
// again by themselves. In a program that was built without libzmq it says so, and does nothing.
var messagesAct = act{"messages", []step{
	{"ask each agent through each", audible(askAll)},
	{"publish on alpha", audible(publishOnAlpha)},
	{"kill bravo (SIGKILL), and ask it", audible(askTheDead)},
	{"ask on, and start it again", audible(askTheReturned)},
}}

const leftOut = "left out: this kith was built without libzmq"

// audible leaves a step out where agents carry no messages.
func audible(play func(ctx context.Context, s *stage) (string, error)) func(context.Context, *stage) (string, error) {
	return func(ctx context.Context, s *stage) (string, error) {
		if _, err := s.ping(ctx, "alpha", "alpha", httpapi.CallOptions{}); errors.Is(err, kith.ErrNoMessages) {
			return leftOut, nil
		}
		return play(ctx, s)
	}
}

// ping asks one agent through another.
func (s *stage) ping(ctx context.Context, from, to string, o httpapi.CallOptions) (time.Duration, error) {
	reply, err := s.agents[from].api.Call(ctx, to, transport.SubjectPing, nil, o)
	return reply.RoundTrip, err
}

// askAll asks all the founders at the same time, once all are connected.
func askAll(ctx context.Context, s *stage) (string, error) {
	if _, err := askRound(ctx, s); err != nil { // which waits for connections
		return "", err
	}
	return askRound(ctx, s)
}

func askRound(ctx context.Context, s *stage) (string, error) {
	var asking sync.WaitGroup
	slowest, asked := make(chan time.Duration, 1), 0
	slowest <- 0
	errs := make(chan error, len(founders)*len(founders))
	for _, from := range founders {
		for _, to := range founders {
			asked++
			asking.Go(func() {
				took, err := s.ping(ctx, from, to, httpapi.CallOptions{})
				if err != nil {
					errs <- fmt.Errorf("%s asks %s: %w", from, to, err)
				}
				slowest <- max(took, <-slowest)
			})
		}
	}
	asking.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return fmt.Sprintf("%d requests, %d replies, the slowest after %s", asked, asked-len(all), span(<-slowest)), errors.Join(all...)
}

// publishOnAlpha publishes once all listen, and waits until all have heard it.
func publishOnAlpha(ctx context.Context, s *stage) (string, error) {
	const topic, text = "demo/news", "good evening"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	ready, heard := make(chan error, len(founders)), make(chan error, len(founders))
	for _, name := range founders {
		listening.Go(func() {
			for event, err := range s.agents[name].api.Subscribe(ctx, "demo/") {
				switch {
				case err != nil:
					ready <- err
					heard <- err
					return
				case event.Kind == httpapi.PublicationReady:
					ready <- nil
				case event.Kind == httpapi.PublicationMessage && event.Peer == "alpha" && event.Topic == topic && string(*event.Body) == text:
					heard <- nil
					return
				}
			}
		})
	}
	if err := collect(ctx, ready, "all listen"); err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := s.agents["alpha"].api.Publish(ctx, topic, []byte(text), nil); err != nil {
		return "", err
	}
	if err := collect(ctx, heard, "all have heard it"); err != nil {
		return "", err
	}
	return fmt.Sprintf("alpha, bravo and charlie have heard %q after %s", text, span(time.Since(began))), nil
}

// collect waits for a word of each founder; what says what that means.
func collect(ctx context.Context, from <-chan error, what string) error {
	for range founders {
		select {
		case err := <-from:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}

// askTheDead asks bravo all the time while it is killed, with calls that do not wait for it.
func askTheDead(ctx context.Context, s *stage) (string, error) {
	if _, err := s.ping(ctx, "alpha", "bravo", httpapi.CallOptions{FailFast: true}); err != nil {
		return "", fmt.Errorf("before anything happened: %w", err)
	}
	began := time.Now()
	if err := s.agents["bravo"].cmd.Process.Kill(); err != nil {
		return "", err
	}
	for {
		_, err := s.ping(ctx, "alpha", "bravo", httpapi.CallOptions{FailFast: true})
		if gone := errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrPeerRestarted); err != nil && !gone {
			return "", err
		} else if gone {
			took := time.Since(began)
			s.agents["bravo"].kill() // waits for its end
			return fmt.Sprintf("alpha is told that bravo is gone after %s", span(took)), nil
		}
	}
}

// askTheReturned has alpha ask bravo while it is away: the call waits, and is answered by the
// process that comes.
func askTheReturned(ctx context.Context, s *stage) (string, error) {
	type answer struct {
		took time.Duration
		err  error
	}
	answered := make(chan answer, 1)
	asking, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	alpha := s.agents["alpha"].api
	go func() {
		reply, err := alpha.Call(asking, "bravo", transport.SubjectPing, nil, httpapi.CallOptions{})
		answered <- answer{reply.RoundTrip, err}
	}()
	began := time.Now()
	if err := s.start(ctx, "bravo"); err != nil {
		cancel()
		<-answered
		return "", err
	}
	a := <-answered
	if a.err != nil {
		return "", a.err
	}
	if _, err := s.ping(ctx, "bravo", "alpha", httpapi.CallOptions{}); err != nil {
		return "", err
	}
	everybody := s.everybody(ctx, "bravo is back", func(nodes httpapi.Nodes) bool {
		return !slices.ContainsFunc(nodes.Nodes, httpapi.NodeInfo.Missing)
	})
	return fmt.Sprintf("the request that waited is answered; bravo was started %s ago", span(time.Since(began))), everybody
}
