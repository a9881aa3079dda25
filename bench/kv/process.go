package main

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

// askTimeout bounds one small question to a system: who leads, how far a node
// is, one put.
const askTimeout = 2 * time.Second

// child is a running child process, seen from the parent. Its methods are not
// safe for concurrent use, kill excepted.
type child struct {
	name    string
	log     string // path
	cmd     *exec.Cmd
	in      io.Closer
	asks    *json.Encoder
	replies chan reply // closed when the child says no more
	reap    func() error
}

// family starts the children and ends those that still run.
type family struct {
	dir string // for logs

	mu       sync.Mutex // guards the fields below
	children map[*child]bool
	started  int
}

func newFamily(dir string) *family { return &family{dir: dir, children: make(map[*child]bool)} }

// start runs the program again as a child. It does not wait until the child
// serves: the first reply says so.
func (f *family) start(name string, s spec) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.started++
	path := filepath.Join(f.dir, fmt.Sprintf("%02d-%s.log", f.started, name))
	f.mu.Unlock()
	log, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	replies, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(exe, childArg)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = apart()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		replies.Close()
		return nil, err
	}
	c := &child{name: name, log: path, cmd: cmd, in: in, asks: json.NewEncoder(in), replies: make(chan reply),
		reap: sync.OnceValue(cmd.Wait)}
	f.mu.Lock()
	f.children[c] = true
	f.mu.Unlock()
	go c.receive(replies)
	if err := c.asks.Encode(s); err != nil {
		return nil, c.failed(err)
	}
	return c, nil
}

// receive ends with the child, which holds the other end of the pipe.
func (c *child) receive(from io.ReadCloser) {
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

// kill ends the child as a crash does and waits until it is gone.
func (f *family) kill(c *child) {
	f.mu.Lock()
	delete(f.children, c)
	f.mu.Unlock()
	c.cmd.Process.Kill()
	for range c.replies { // what it still said
	}
	c.in.Close()
	c.reap()
}

// killAll ends every child that runs.
func (f *family) killAll() {
	f.mu.Lock()
	var all []*child
	for c := range f.children {
		all = append(all, c)
	}
	f.mu.Unlock()
	for _, c := range all {
		f.kill(c)
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ready waits until the child serves.
func (c *child) ready(limit time.Duration) error {
	_, err := c.wait(limit)
	return err
}

// ask sends a request and waits for the reply.
func (c *child) ask(q request, limit time.Duration) (reply, error) {
	if err := c.asks.Encode(q); err != nil {
		return reply{}, c.failed(err)
	}
	return c.wait(limit)
}

// replyError is a child's own word that it could not do what was asked. The
// child is well.
type replyError struct{ child, text string }

func (e *replyError) Error() string { return e.child + ": " + e.text }

func (c *child) wait(limit time.Duration) (reply, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a, ok := <-c.replies:
		if !ok {
			return a, c.failed(errors.New("it ended"))
		}
		if a.Error != "" {
			return a, &replyError{c.name, a.Error}
		}
		return a, nil
	case <-timer.C:
		return reply{}, c.failed(fmt.Errorf("no reply within %v", limit))
	}
}

// failed adds the end of the child's log to err.
func (c *child) failed(err error) error {
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
func (c *child) pause() error  { return c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *child) resume() error { return c.cmd.Process.Signal(syscall.SIGCONT) }
