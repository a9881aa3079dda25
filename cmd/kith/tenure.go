package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Jobs of a tenure, by number.
const (
	startJob   = 1 // the start script
	commandJob = 2 // the command, or the line of --exec
)

// standing is where a member of a group stands.
type standing struct {
	rank        int
	leader      string
	leaderToken uint64
}

// tenure is the time from the moment that a place is held until all that ran under it has
// ended. It is used once.
type tenure struct {
	app   *app
	guard *guard
	lease *lease
	// place ends when the place can no longer be relied on.
	place context.Context
	// start is the start script, run when it begins and whenever the standing changes;
	// command, if not nil, is run after the first start.
	start   string
	command *job
	stop    string
	env     func(standing) []string
	// standings, if not nil, tells changes. within tells whether the place is still one that
	// things are run at.
	standings <-chan standing
	within    func(standing) bool

	now       standing
	starting  bool // the start script runs
	again     bool // and is to be run once more when it has ended
	running   bool // the command runs
	begun     bool // the command was started
	leaving   bool // a signal has told kith to end
	endBegan  time.Duration
	ending    bool
	checks    int           // in a row that found the watchdog overdue
	gone      time.Duration // when all but the stop script had ended
	result    conclusion
	concluded bool // result says why it ended
}

// conclusion tells how a tenure ended.
type conclusion struct {
	// code and err tell what kith is to end with, unless lost or told to end.
	code int
	err  error
	// lost is why the place was lost, nil if it was not.
	lost error
	// told: a signal has told kith to end.
	told bool
}

// run runs what is to be run until all has ended, which it does when the command ends,
// a script fails, the place is lost or ctx ends. Signals to kith are handed on.
func (t *tenure) run(ctx context.Context) conclusion {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn()...)
	defer signal.Stop(signals)
	if ctx.Err() != nil || t.place.Err() != nil { // nothing is started after a signal
		t.guard.close()
		return conclusion{told: ctx.Err() != nil, lost: context.Cause(t.place)}
	}
	t.guard.arm(will{
		Stop: t.stop, Env: t.env(t.now), Grace: t.lease.grace,
		API: t.lease.api, Token: t.lease.token, Client: t.lease.session.ID(),
	}, t.lease.deadline(t.guard))
	t.lease.bind(t.guard)
	defer t.lease.bind(nil)
	switch {
	case t.start != "":
		t.runStart()
	case t.command != nil:
		t.runCommand()
	}
	t.attend(ctx, signals)
	return t.result
}

// attend deals with all that happens until the watchdog's last report.
func (t *tenure) attend(ctx context.Context, signals <-chan os.Signal) {
	interrupted, lost := ctx.Done(), t.place.Done()
	check := time.NewTicker(50 * time.Millisecond)
	defer check.Stop()
	for {
		select {
		case r, ok := <-t.guard.reports:
			switch {
			case !ok:
				t.conclude(conclusion{code: exitFailed, err: errWatchdogGone})
				t.ended(t.guard.takeOver(t.env(t.now), t.lease.deadline(t.guard)))
				return
			case r.Ended != nil:
				t.guard.close()
				t.ended(*r.Ended)
				return
			}
			t.hear(r)
		case <-lost:
			lost = nil
			t.conclude(conclusion{lost: context.Cause(t.place)})
			t.end()
		case s := <-signals:
			t.handOn(s)
		case <-interrupted:
			interrupted = nil
			if context.Cause(ctx) == context.Canceled { // not by a signal, which is handed on itself
				t.handOn(syscall.SIGTERM)
			}
		case t.now = <-t.standings:
			t.moved()
		case <-check.C:
			t.guard.sweep()
			if t.stuck() {
				t.conclude(conclusion{code: exitFailed, err: errors.New("the watchdog does not do as it is told: was it stopped?")})
				t.ended(t.guard.takeOver(t.env(t.now), t.lease.deadline(t.guard)))
				return
			}
		}
	}
}

// hear deals with a report.
func (t *tenure) hear(r report) {
	t.guard.note(r)
	if r.Late { // this process was stopped, and may not know yet
		t.conclude(conclusion{lost: errLate})
		t.end()
	}
	if r.Gone {
		t.gone = t.guard.clock()
	}
	switch r.Exited {
	case startJob:
		t.starting = false
		switch {
		case t.leaving && t.running, t.ending:
		case t.leaving:
			t.end()
		case r.Code != 0:
			t.conclude(conclusion{code: r.Code, err: jobError("start script", t.start, r)})
			t.end()
		case t.again:
			t.runStart()
		case t.command != nil && !t.begun:
			t.runCommand()
		}
	case commandJob:
		t.running = false
		v := conclusion{code: r.Code}
		if r.Error != "" {
			v.err = jobError("command", t.command.String(), r)
		}
		t.conclude(v)
		t.end()
	}
}

// jobError tells what became of a job that failed.
func jobError(what, name string, r report) error {
	switch {
	case r.Error != "":
		return fmt.Errorf("the %s %q cannot be run: %s", what, name, r.Error)
	case r.Code > exitSignalBase:
		return fmt.Errorf("the %s %q was ended by signal %d", what, name, r.Code-exitSignalBase)
	}
	return fmt.Errorf("the %s %q failed with code %d", what, name, r.Code)
}

func (t *tenure) runStart() {
	t.starting, t.again = true, false
	t.guard.start(job{ID: startJob, Line: t.start, Env: t.env(t.now)})
}

func (t *tenure) runCommand() {
	t.running, t.begun = true, true
	j := *t.command
	j.ID, j.Env = commandJob, t.env(t.now)
	t.guard.start(j)
}

// moved deals with a change of the standing.
func (t *tenure) moved() {
	switch {
	case t.ending || t.leaving:
	case !t.within(t.now):
		t.end()
	case t.starting:
		t.again = true
	case t.start != "":
		t.runStart()
	}
}

// handOn hands a signal to what runs. When it tells kith to end, the command decides how
// long that takes; what else there is has the usual time.
func (t *tenure) handOn(s os.Signal) {
	if s, ok := s.(syscall.Signal); ok {
		t.guard.signal(s)
	}
	if endsKith(s) {
		t.leaving, t.again, t.result.told = true, false, true
		if !t.running {
			t.end()
		}
	}
}

// end asks the watchdog to end all.
func (t *tenure) end() {
	if !t.ending {
		t.ending, t.endBegan = true, t.guard.clock()
		t.guard.end()
	}
}

// stuckChecks is how often in a row the watchdog must be found overdue: a guardian that
// was stopped itself may not have read yet what it was told.
const stuckChecks = 4

// stuck reports whether the watchdog should have ended all by now.
func (t *tenure) stuck() bool {
	if t.overdue() {
		t.checks++
	} else {
		t.checks = 0
	}
	return t.checks >= stuckChecks
}

func (t *tenure) overdue() bool {
	now, deadline, grace := t.guard.clock(), t.lease.deadline(t.guard), t.lease.grace
	switch {
	case t.gone != 0:
		return now > t.gone+stopPatience+endPatience+killPatience
	case t.ending:
		return now > killTime(t.endBegan, deadline, grace)+grace/8
	}
	return now > deadline+grace/2+grace/8
}

// conclude keeps the first reason for the end.
func (t *tenure) conclude(v conclusion) {
	if !t.concluded {
		v.told = t.result.told
		t.result, t.concluded = v, true
	}
}

// ended tells what went wrong at the end, once all has ended.
func (t *tenure) ended(e ending) {
	if e.Left {
		t.app.note("kith: some of what was started cannot be killed; it may still run")
	}
	if e.Stop != 0 {
		t.app.note("kith: the stop script %q failed with code %d", t.stop, e.Stop)
		t.conclude(conclusion{})
		if t.result.code == 0 {
			t.result.code = e.Stop
		}
	}
}

// errLate is the end by a watchdog that has heard of no renewal.
var errLate = errors.New("the session was not renewed in time")
