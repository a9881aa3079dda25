package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// AskTimeout bounds one small question to a system: who leads, how far a node
// is, one small piece of work.
const AskTimeout = 2 * time.Second

// Drain bounds how long what is under way at the end of a job may take.
const Drain = 10 * time.Second

// Child is a running child process, seen from the parent: one of the benchmark's
// own, or a rival's program, which cannot be asked anything. Its methods are not
// safe for concurrent use.
type Child struct {
	name    string
	log     string // path
	cmd     *exec.Cmd
	foreign bool
	in      io.Closer     // nil if foreign
	asks    *json.Encoder // nil if foreign
	replies chan reply    // closed when the child says no more
	reap    func() error
}

// Family starts the children and ends those that still run. It is safe for
// concurrent use.
type Family struct {
	dir string // for logs

	mu       sync.Mutex // guards the fields below
	children map[*Child]bool
	started  int
}

// NewFamily returns a family whose logs are written into dir.
func NewFamily(dir string) *Family { return &Family{dir: dir, children: make(map[*Child]bool)} }

// Start runs the program again as a child. It does not wait until the child
// serves: [Child.Ready] does.
func (f *Family) Start(name string, s Spec) (*Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	replies, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(exe, childArg)
	cmd.ExtraFiles = []*os.File{theirs}
	in, err := cmd.StdinPipe()
	if err != nil {
		replies.Close()
		return nil, err
	}
	c := &Child{name: name, cmd: cmd, in: in, asks: json.NewEncoder(in), replies: make(chan reply)}
	if err := f.run(c); err != nil {
		replies.Close()
		return nil, err
	}
	go c.receive(replies)
	if err := c.asks.Encode(s); err != nil {
		return nil, c.failed(err)
	}
	return c, nil
}

// StartForeign runs a rival's program.
func (f *Family) StartForeign(name string, cmd *exec.Cmd) (*Child, error) {
	c := &Child{name: name, cmd: cmd, foreign: true, replies: make(chan reply)}
	if err := f.run(c); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.replies)
		c.reap()
	}()
	return c, nil
}

// run starts c's command with a log of its own.
func (f *Family) run(c *Child) error {
	f.mu.Lock()
	f.started++
	c.log = filepath.Join(f.dir, fmt.Sprintf("%02d-%s.log", f.started, c.name))
	f.mu.Unlock()
	log, err := os.Create(c.log)
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = Apart()
	c.reap = sync.OnceValue(c.cmd.Wait)
	if err := c.cmd.Start(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.children[c] = true
	return nil
}

// receive ends with the child, which holds the other end of the pipe.
func (c *Child) receive(from io.ReadCloser) {
	defer from.Close()
	defer close(c.replies)
	for lines := json.NewDecoder(from); ; {
		var a reply
		if lines.Decode(&a) != nil {
			return
		}
		c.replies <- a
	}
}

// Kill ends the child as a crash does and waits until it is gone. It may be
// called while another goroutine waits for the child.
func (f *Family) Kill(c *Child) {
	f.mu.Lock()
	delete(f.children, c)
	f.mu.Unlock()
	c.cmd.Process.Kill()
	for range c.replies { // what it still said
	}
	if c.in != nil {
		c.in.Close()
	}
	c.reap()
}

// KillAll ends every child that runs.
func (f *Family) KillAll() {
	f.mu.Lock()
	var all []*Child
	for c := range f.children {
		all = append(all, c)
	}
	f.mu.Unlock()
	for _, c := range all {
		f.Kill(c)
	}
}

// PID is the child's process ID.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ready waits until the child serves. A rival's program is not waited for: whether
// it serves is asked of the child that puts load on it.
func (c *Child) Ready(limit time.Duration) error {
	if c.foreign {
		return nil
	}
	return c.wait(limit, nil)
}

// Collect has the child collect garbage, unless it is a rival's program.
func (c *Child) Collect() error {
	if c.foreign {
		return nil
	}
	return c.Ask(Drain, askCollect, nil, nil)
}

// Ask has the child do what is called ask, with the fields of body, and puts the
// result where result points, unless it is nil. An error of type *[ReplyError] is
// the child's own; after any other the child is lost.
func (c *Child) Ask(limit time.Duration, ask string, body, result any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if c.foreign {
		return fmt.Errorf("%s cannot be asked anything", c.name)
	}
	if err := c.asks.Encode(request{Ask: ask, Body: text}); err != nil {
		return c.failed(err)
	}
	return c.wait(limit, result)
}

// ReplyError is a child's own word that it could not do what was asked. The
// child is well.
type ReplyError struct{ Child, Text string }

func (e *ReplyError) Error() string { return e.Child + ": " + e.Text }

func (c *Child) wait(limit time.Duration, result any) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a, ok := <-c.replies:
		if !ok {
			return c.failed(errors.New("it ended"))
		}
		if a.Error != "" {
			return &ReplyError{c.name, a.Error}
		}
		if result == nil {
			return nil
		}
		if a.Body == nil {
			return c.failed(errors.New("a reply without what was asked"))
		}
		return json.Unmarshal(a.Body, result)
	case <-timer.C:
		return c.failed(fmt.Errorf("no reply within %v", limit))
	}
}

// failed adds the end of the child's log to err.
func (c *Child) failed(err error) error {
	return fmt.Errorf("%s: %w; its log, %s, ends with:\n%s", c.name, err, c.log, tail(c.log, 20))
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// pause and resume stop and continue the whole process.
func (c *Child) pause() error  { return c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *Child) resume() error { return c.cmd.Process.Signal(syscall.SIGCONT) }
