package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/internal/boottime"
)

// What runs under a lock or a place is started, and ended, by a process of its own: the
// watchdog. kith itself, the guardian, talks to the cluster and tells the watchdog the
// deadline whenever it moves. Neither can leave the other's children behind (SAFETY.md,
// S14):
//
//   - The guardian is killed: the pipe between them ends, and the watchdog ends the children.
//   - The guardian is stopped, or hangs: no new deadline comes, and when the last one has
//     passed the watchdog ends the children, before the cluster lets anybody else begin.
//   - The watchdog is killed: on Linux its children die with it (PDEATHSIG), and everywhere
//     the guardian ends their process groups.
//   - The watchdog is stopped: the guardian ends both when it does not do as it is told.
//
// There is no moment at which a child runs and nobody watches it, since the watchdog is
// what starts it. To end means SIGTERM to the process groups, SIGKILL when half of
// the grace is over, and then the stop script, on all ways alike.
//
// The limits: a process that leaves its group (setsid) is on its own; that is how a start
// script starts a daemon, which the stop script stops. A set-user-ID program is not bound
// by PDEATHSIG, and other systems than Linux have none: there, whoever kills guardian and
// watchdog at once leaves the children. Where there are no process groups (Windows) the
// guardian watches by itself, and nobody watches it. When all are frozen together, by a
// suspend or a hypervisor, they wake late together, and only the fencing token tells.

const (
	// endPatience is how long children have between SIGTERM and SIGKILL while the session
	// is in no danger.
	endPatience = 10 * time.Second
	// stopPatience is how long a stop script may take.
	stopPatience = 30 * time.Second
	// killPatience is how long the system may take to remove what was killed.
	killPatience = 2 * time.Second
	// watchNap is the longest that the watchdog does not look at the clock: timers stand
	// still during a suspend, and that clock does not.
	watchNap = 250 * time.Millisecond
	// endPoll is how often it is looked whether all has ended.
	endPoll = 10 * time.Millisecond
	// sweepEvery is how often process groups without their leader are looked at, so that
	// the number of one that is gone is not taken for it when the system uses it again.
	sweepEvery = time.Second
)

// order is what the guardian tells its watchdog. Times are the watchdog's clock's.
type order struct {
	// Arm comes once, before anything is started.
	Arm *will `json:"arm,omitempty"`
	// Deadline, if not 0, replaces the last one.
	Deadline time.Duration  `json:"deadline,omitempty"`
	Start    *job           `json:"start,omitempty"`
	Signal   syscall.Signal `json:"signal,omitempty"` // for all that runs
	End      bool           `json:"end,omitempty"`
}

// will is what is to be done at the end, whoever brings it about.
type will struct {
	// Stop is the stop script, a line for the shell, "" for none, and Env its environment
	// until a job brings its own.
	Stop string   `json:"stop,omitempty"`
	Env  []string `json:"env,omitempty"`
	// Grace is the time from the deadline until the cluster may let others begin.
	Grace time.Duration `json:"grace"`
	// API, Token and Client are the agent, the token for it, and the session that the
	// watchdog of a guardian that was killed ends, so that others need not wait for it.
	API    string `json:"api,omitempty"`
	Token  string `json:"token,omitempty"`
	Client string `json:"client,omitempty"`
}

// report is what the watchdog tells the guardian.
type report struct {
	// Clock comes first, once: what the watchdog's clock shows.
	Clock time.Duration `json:"clock,omitempty"`
	// Started is a job that was started, Group its process group.
	Started int `json:"started,omitempty"`
	Group   int `json:"group,omitempty"`
	// Exited is a job that has ended, with its exit code. Error tells why one did not start.
	Exited int    `json:"exited,omitempty"`
	Code   int    `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
	// Late tells that the deadline has passed and all is being ended, Gone that nothing
	// runs any more but the stop script, and Ended, which comes last, how it went.
	Late  bool    `json:"late,omitempty"`
	Gone  bool    `json:"gone,omitempty"`
	Ended *ending `json:"ended,omitempty"`
}

// ending tells how the end went.
type ending struct {
	// Left tells that processes could not be killed.
	Left bool `json:"left,omitempty"`
	// Stop is the exit code of the stop script, 0 if there is none.
	Stop int `json:"stop,omitempty"`
}

// keeper starts and ends what runs under a place. Its fields belong to run.
type keeper struct {
	orders         <-chan order // closed when the guardian is gone
	report         func(report) // to the guardian; must not block for ever
	clock          func() time.Duration
	stdin          io.Reader
	stdout, stderr io.Writer

	will     will
	armed    bool
	deadline time.Duration
	ending   bool     // no job is started any more
	orphan   bool     // the guardian is gone
	env      []string // of the last job, for the stop script
	// groups are those that may have processes; true for those whose first one was not yet
	// waited for, so that its number is certainly theirs.
	groups map[int]bool
	exits  chan exit
	over   chan struct{} // closed when nobody takes exits any more
	// stopped tells that the stop script has ended, with stopCode.
	stopped  bool
	stopCode int
}

// exit is the end of a process that the keeper has started.
type exit struct{ job, group, code int }

func newKeeper(orders <-chan order, tell func(report)) *keeper {
	return &keeper{
		orders: orders, report: tell, clock: boottime.Clock(),
		groups: make(map[int]bool), exits: make(chan exit), over: make(chan struct{}),
	}
}

// run does as it is told until all has ended. It must stay on one thread, to which the
// children are bound.
func (k *keeper) run() {
	defer close(k.over)
	k.report(report{Clock: k.clock()})
	k.attend(watchNap, func() bool { return k.ending || k.late() })
	if !k.armed {
		return // nothing was ever started
	}
	if !k.ending {
		k.report(report{Late: true})
	}
	k.ending = true
	end := ending{Left: !k.clear()}
	k.report(report{Gone: !end.Left})
	end.Stop = k.stop()
	k.report(report{Ended: &end})
	if k.orphan && !end.Left && k.will.Client != "" {
		k.handOver()
	}
}

// late reports whether the deadline has passed.
func (k *keeper) late() bool { return k.armed && k.clock() >= k.deadline }

// clear ends all that runs, and reports whether it did.
func (k *keeper) clear() bool {
	k.signal(syscall.SIGTERM)
	begun := k.clock()
	k.attend(endPoll, func() bool { return k.empty() || k.clock() >= killTime(begun, k.deadline, k.will.Grace) })
	if k.empty() {
		return true
	}
	k.signal(syscall.SIGKILL)
	begun = k.clock()
	k.attend(endPoll, func() bool { return k.empty() || k.clock() >= begun+killPatience })
	return k.empty()
}

// killTime is when what was told to end at the time begun is killed.
func killTime(begun, deadline, grace time.Duration) time.Duration {
	return min(begun+endPatience, deadline+grace/2)
}

// attend deals with what comes until done says so, and asks it at least every nap.
func (k *keeper) attend(nap time.Duration, done func() bool) {
	tick := time.NewTicker(nap)
	defer tick.Stop()
	swept := k.clock()
	for !done() {
		var late <-chan time.Time
		if left := k.deadline - k.clock(); k.armed && !k.ending && left < nap {
			late = time.After(left)
		}
		select {
		case o, ok := <-k.orders:
			if !ok { // the guardian is gone
				k.orders, k.ending, k.orphan = nil, true, true
				break
			}
			k.obey(o)
		case e := <-k.exits:
			k.ended(e)
		case <-late:
		case <-tick.C:
			if k.clock() >= swept+sweepEvery {
				k.sweep()
				swept = k.clock()
			}
		}
	}
}

func (k *keeper) obey(o order) {
	if o.Deadline != 0 {
		k.deadline = o.Deadline
	}
	switch {
	case o.Arm != nil:
		k.will, k.env, k.armed = *o.Arm, o.Arm.Env, true
	case o.Start != nil:
		k.start(*o.Start)
	case o.Signal != 0:
		k.signal(o.Signal)
	case o.End:
		k.ending = true
	}
}

// start starts a job, unless the end has begun.
func (k *keeper) start(j job) {
	if !k.armed || k.ending || k.late() {
		return // and Ended follows
	}
	k.env = j.Env
	group, err := k.spawn(j, true)
	if err != nil {
		k.report(report{Exited: j.ID, Code: startFailed(err), Error: err.Error()})
		return
	}
	k.groups[group] = true
	k.report(report{Started: j.ID, Group: group})
}

// spawn starts a job whose end comes by k.exits.
func (k *keeper) spawn(j job, bound bool) (group int, err error) {
	cmd := j.command()
	ownGroup(cmd, bound)
	if j.Stdin {
		cmd.Stdin = k.stdin
	}
	cmd.Stdout, cmd.Stderr = k.stdout, k.stderr
	cmd.WaitDelay = killPatience // where the outputs are no files and somebody keeps them open
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	e := exit{job: j.ID, group: cmd.Process.Pid}
	go func() {
		err := cmd.Wait()
		if e.code = exitStatus(cmd.ProcessState); e.code == 0 && err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			e.code = exitFailed
		}
		select {
		case k.exits <- e:
		case <-k.over:
		}
	}()
	return e.group, nil
}

// ended deals with the end of a process. What it has started may go on in its group.
func (k *keeper) ended(e exit) {
	if e.job == stopJob {
		k.stopped, k.stopCode = true, e.code
		return
	}
	k.groups[e.group] = false
	k.sweep()
	k.report(report{Exited: e.job, Code: e.code})
}

// sweep forgets the groups that are gone.
func (k *keeper) sweep() {
	for group, led := range k.groups {
		if !led && !groupLives(group) {
			delete(k.groups, group)
		}
	}
}

// empty reports whether nothing runs any more.
func (k *keeper) empty() bool {
	k.sweep()
	return len(k.groups) == 0
}

func (k *keeper) signal(s syscall.Signal) {
	for group := range k.groups {
		signalGroup(group, s)
	}
}

// stopJob is the number of the stop script among the jobs.
const stopJob = -1

// stop runs the stop script and returns its exit code. The script is not bound to
// anybody's life: once begun it shall finish.
func (k *keeper) stop() int {
	if k.will.Stop == "" {
		return 0
	}
	group, err := k.spawn(job{ID: stopJob, Line: k.will.Stop, Env: k.env}, false)
	if err != nil {
		return startFailed(err)
	}
	begun, asked := k.clock(), false
	k.attend(endPoll, func() bool {
		switch took := k.clock() - begun; {
		case k.stopped:
		case took >= stopPatience+endPatience:
			signalGroup(group, syscall.SIGKILL)
		case took >= stopPatience && !asked:
			signalGroup(group, syscall.SIGTERM)
			asked = true
		}
		return k.stopped
	})
	return k.stopCode
}

// handOver ends the session of a guardian that was killed: nothing runs under it any
// more, so nobody need wait until its time is up.
func (k *keeper) handOver() {
	c, err := httpapi.NewClient(k.will.API, k.will.Token)
	if err != nil {
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	if s, err := c.Session(ctx, httpapi.SessionOptions{ID: k.will.Client}); err == nil {
		s.Close(ctx)
	}
}
