package replicas

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// leash is the file descriptor of a started process on which it reads until the test's
// process has ended.
const leash = 3

// Process is the example as a process. Its methods fail the test when they cannot do what
// they are asked; those that wait must be called from the test's goroutine.
type Process struct {
	Name string

	t        testing.TB
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	out, err output
	ended    chan struct{} // closed when the process has ended and all it printed was read
}

// start runs this program as the example.
func start(t testing.TB, name, dir string, args []string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	held, given, err := leashed()
	if err != nil {
		return nil, err
	}
	defer given.Close() // the process has its own
	p := &Process{Name: name, t: t, cmd: exec.Command(self, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, environment(dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.ExtraFiles = []*os.File{given}
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		held.Close()
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait() // how it ended is in ProcessState
		held.Close()
	}()
	return p, nil
}

// leashed returns the two ends of a pipe: given ends when held, which nobody inherits, is
// closed or its process ends.
func leashed() (held, given *os.File, err error) {
	given, held, err = os.Pipe()
	return held, given, err
}

// Lines returns what the process has printed until now, without half a line at the end.
func (p *Process) Lines() []string {
	var lines []string
	for line := range strings.Lines(p.out.String()) {
		if whole, ok := strings.CutSuffix(line, "\n"); ok {
			lines = append(lines, whole)
		}
	}
	return lines
}

// Said reports whether one of the lines contains words.
func (p *Process) Said(words string) bool {
	return slices.ContainsFunc(p.Lines(), func(line string) bool { return strings.Contains(line, words) })
}

// AwaitLine waits for a line that contains words, and returns the first. It fails the
// test if the process ends without one.
func (p *Process) AwaitLine(words string) string {
	p.t.Helper()
	var found string
	Await(p.t, p.Name+" prints "+words, func() bool {
		ended := !p.Running() // before looking: what it said last counts
		lines := p.Lines()
		i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, words) })
		switch {
		case i >= 0:
			found = lines[i]
		case ended:
			p.t.Fatalf("%s has ended and never printed %q", p.Name, words)
		}
		return i >= 0
	})
	return found
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Type writes a line to the standard input of the process.
func (p *Process) Type(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("writing to %s: %v", p.Name, err)
	}
}

// Kill ends the process as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // an error says that it has ended
	<-p.ended
}

// Pause stops the process in its tracks, until Resume.
func (p *Process) Pause() {
	p.t.Helper()
	p.signal(pause)
}

// Resume lets a paused process go on.
func (p *Process) Resume() {
	p.t.Helper()
	p.signal(resume)
}

// End asks the process to end, waits until it has, and fails the test unless it ended
// well.
func (p *Process) End() {
	p.t.Helper()
	p.signal(terminate)
	Await(p.t, p.Name+" ends", func() bool { return !p.Running() })
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ended with the code %d", p.Name, code)
	}
}

func (p *Process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
}

// output is what a process prints, read while it is written.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
