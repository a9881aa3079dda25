package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// A demo is a list of acts, an act a list of steps that share a stage. A step
// does one thing to real processes and waits until its effect can be seen, so
// how long it took is how long a user would have waited.

// act is a part of the demo.
type act struct {
	name  string
	steps []step
}

// step is one thing that is done and its effect awaited.
type step struct {
	title string
	// play returns what was seen, in words.
	play func(ctx context.Context, s *stage) (seen string, err error)
}

// acts is the programme; what kith learns later gets an act of its own.
var acts = []act{membershipAct, agreementAct, messagesAct, locksAct}

// stepTimeout bounds a step: more than gossip needs on a loaded machine, and more than a
// session and several elections take.
const stepTimeout = 30 * time.Second

// played is how a step went.
type played struct {
	Act   string  `json:"act"`
	Step  string  `json:"step"`
	OK    bool    `json:"ok"`
	Seen  string  `json:"seen,omitempty"`
	Error string  `json:"error,omitempty"`
	TookS float64 `json:"took_s"`
}

// playbill is the result of a demo.
type playbill struct {
	OK    bool     `json:"ok"`
	TookS float64  `json:"took_s"`
	Steps []played `json:"steps"`
	// Dir is where the files are, if they were kept.
	Dir string `json:"dir,omitempty"`
}

func (a *app) demoCommand() *cobra.Command {
	var keep, asJSON bool
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupNode,
		Short:   "see kith work, with real processes on this machine",
		Long: `Starts three agents on the loopback, kills one without warning, starts it again,
and adds a fourth to the peers file; after each step it waits until every node has
noticed and says how long that took. Then it writes a key on one and reads it on
another, and kills the leader while keys are written: none is lost. The agents ask each
other, one is killed, and the request that waits for it is answered when it is back. At
last three replicas of a program stand in line to lead: the first is killed and the next
takes over within milliseconds; that one is stopped for longer than its session lasts, the
third takes over, and what the stopped one writes when it goes on is refused. It asks
nothing, takes some twenty seconds and leaves nothing behind: no file, no process.`,
		Example: `  kith demo
  kith demo --json | jq .steps
  kith demo --keep            leave the peers file and the logs for a look`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runDemo(cmd.Context(), keep, asJSON)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the directory with the peers file and the logs")
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd, exitFailed, exitInterrupted)
}

// runDemo plays the acts and tells how they went.
func (a *app) runDemo(ctx context.Context, keep, asJSON bool) (err error) {
	// On Linux a child is told to die with the thread that started it (see
	// bindToParent), so that thread must not end before the demo does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// A demo that nobody listens to any more ends as an interrupted one does.
	// Without Notify, SIGPIPE would end it before it has cleaned up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	narration := &output{w: a.stdout, failed: cancel}
	if asJSON {
		narration.w = a.stderr
	}
	s, err := newStage()
	if err != nil {
		return err
	}
	// Deferred, so that a panic in a step leaves no process either.
	defer func() { err = errors.Join(err, s.strike(keep)) }()

	began := time.Now()
	bill := a.play(ctx, s, narration)
	bill.TookS = seconds(time.Since(began))
	if keep {
		bill.Dir = s.dir
		fmt.Fprintf(narration, "\nthe files are in %s\n", s.dir)
	}
	if asJSON {
		if err := a.printJSON(bill); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(narration)
		a.print(billTable(bill))
	}
	switch {
	case narration.err != nil:
		return fmt.Errorf("telling how the demo goes: %w", narration.err)
	case bill.OK:
		return nil
	case ctx.Err() != nil:
		return errInterrupted
	default:
		return errors.New("the demo failed; what the nodes logged is above")
	}
}

// play goes through the acts until a step fails.
func (a *app) play(ctx context.Context, s *stage, narration io.Writer) playbill {
	bill := playbill{OK: true, Steps: []played{}}
	for _, act := range acts {
		for _, step := range act.steps {
			fmt.Fprintf(narration, "%s … ", step.title)
			p := playStep(ctx, s, act.name, step)
			bill.Steps = append(bill.Steps, p)
			if p.OK {
				fmt.Fprintf(narration, "%s  (%s)\n", clean(p.Seen), span(tookOf(p)))
				continue
			}
			bill.OK = false
			fmt.Fprintf(narration, "%s after %s\n", either(ctx.Err() != nil, "interrupted", "failed"), span(tookOf(p)))
			if ctx.Err() == nil {
				fmt.Fprintln(narration, clean(p.Error))
				s.showLogs(narration)
			}
			return bill
		}
	}
	return bill
}

func playStep(ctx context.Context, s *stage, act string, step step) played {
	bounded, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("it did not happen within %s", stepTimeout))
	defer cancel()
	began := time.Now()
	seen, err := step.play(bounded, s)
	p := played{Act: act, Step: step.title, OK: err == nil, Seen: seen, TookS: seconds(time.Since(began))}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		p.Error = "interrupted"
	default:
		p.Error = err.Error()
	}
	return p
}

// seconds returns d in seconds, to the millisecond; [time.Duration.Seconds] would
// add to what is shown the error of a sum.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

func tookOf(p played) time.Duration { return time.Duration(p.TookS * float64(time.Second)) }

// billTable draws what happened and how long it took.
func billTable(bill playbill) *table {
	t := newTable("STEP", "WHAT HAPPENED", "TOOK")
	for _, p := range bill.Steps {
		seen := cell{p.Seen, good}
		if !p.OK {
			seen = cell{either(p.Error == "interrupted", p.Error, "failed, see above"), bad}
		}
		t.add(p.Step, seen, span(tookOf(p)))
	}
	t.add("", "in all", span(time.Duration(bill.TookS*float64(time.Second))))
	return t
}

// cleanEnv returns the environment without what would change how agents find
// their peers, their key and their state.
func cleanEnv(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, v := range environ {
		if !strings.HasPrefix(v, "PEERS_") && !strings.HasPrefix(v, "KITH_") && !strings.HasPrefix(v, "STATE_DIRECTORY=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
