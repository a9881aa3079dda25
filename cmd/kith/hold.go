package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/kith-go/kith/httpapi"
)

const (
	// closePatience is how long kith waits for the cluster to hear that it has let go.
	closePatience = 5 * time.Second
	// graceShare is the part of a session's time to live that is kept for ending what runs
	// under it.
	graceShare = 4
)

// holdFlags say how something is held.
type holdFlags struct {
	agent agentFlags
	name  string
	ttl   timespan
}

func (h *holdFlags) add(a *app, f *pflag.FlagSet) {
	h.ttl = timespan(httpapi.DefaultSessionTTL)
	f.StringVar(&h.name, "name", "", "what others see it held as (default $KITH_NAME, else the host's name)")
	f.Var(&h.ttl, "ttl", "how long the cluster waits for a holder that has fallen silent, a `time` such as 5s")
	h.agent.add(f)
}

// lease is a session, and tells its deadline to the watchdog of the day.
type lease struct {
	session    *httpapi.Session
	name       string // as which things are held
	api, token string // of the agent
	grace      time.Duration

	mu    sync.Mutex // guards guard
	guard *guard     // nil for none
}

// lease opens a session.
func (a *app) lease(ctx context.Context, h holdFlags) (*lease, error) {
	api, from, token, err := a.agentOf(h.agent)
	if err != nil {
		return nil, err
	}
	c, err := newClient(api, from, token)
	if err != nil {
		return nil, err
	}
	if h.ttl == 0 {
		return nil, usageError(errors.New("--ttl 0 would end before it begins"))
	}
	l := &lease{api: api, token: token, grace: time.Duration(h.ttl) / graceShare, name: h.name}
	for _, name := range []func() string{func() string { return a.getenv("KITH_NAME") }, hostName} {
		if l.name == "" {
			l.name = name()
		}
	}
	l.session, err = c.Session(ctx, httpapi.SessionOptions{TTL: time.Duration(h.ttl), Grace: l.grace, OnRenewed: l.renewed})
	if err != nil {
		c.Close()
		return nil, err
	}
	return l, nil
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// renewed tells the watchdog the new deadline.
func (l *lease) renewed(time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guard != nil {
		l.guard.extend(l.deadline(l.guard))
	}
}

// bind has g told all deadlines from now on; nil for nobody.
func (l *lease) bind(g *guard) {
	l.mu.Lock()
	l.guard = g
	l.mu.Unlock()
	if g != nil {
		g.extend(l.deadline(g))
	}
}

// deadline returns the session's deadline by g's clock. The clock is read first: if this
// process is stopped in between, the deadline is too early.
func (l *lease) deadline(g *guard) time.Duration {
	now := g.clock()
	return now + l.session.Left()
}

// close ends the session, and with it all that it holds.
func (l *lease) close(ctx context.Context, a *app) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if err := l.session.Close(ctx); err != nil {
		a.note("kith: %s\nothers may have to wait until the session's time is up", errorWords(err))
	}
	l.session.Client().Close()
}

// env returns what a child is told of who holds, and where.
func (l *lease) env(a *app, h holdFlags, more ...string) []string {
	env := []string{"KITH_NAME=" + l.name, "KITH_CLIENT_ID=" + l.session.ID(), "KITH_API=" + l.api}
	if h.agent.tokenFile != "" {
		env = append(env, "KITH_TOKEN_FILE="+h.agent.tokenFile)
	}
	return append(env, more...)
}

// childOutput returns what children write to: a file is their own, so that whoever keeps
// it open holds up nothing.
func (a *app) childOutput() io.Writer {
	if out, ok := a.stdout.(*output); ok {
		return out.w
	}
	return a.stdout
}

// newKeeper returns a keeper in this process.
func (a *app) newKeeper() *keeper {
	k := newKeeper(nil, nil)
	if f, ok := a.stdin.(*os.File); ok {
		k.stdin = f
	}
	k.stdout, k.stderr = a.childOutput(), a.stderr
	return k
}
