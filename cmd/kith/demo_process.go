package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kith-go/kith/httpapi"
)

// process is this very program as a child that is the node of that name.
type process struct {
	name    string
	cmd     *exec.Cmd
	logFile string
	ended   chan struct{} // closed when the process has ended and was waited for
}

// spawn runs a command of kith as the node called name, with the stage's peers file. heed
// reads what it prints, on a goroutine that ends with the process, and need not read all.
func (s *stage) spawn(name string, heed func(out io.Reader), command string, flags ...string) (*process, error) {
	p := &process{name: name, logFile: filepath.Join(s.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own handle
	p.cmd = exec.Command(s.program, append([]string{command, "--name", name, "--peers", s.peersFile,
		"--dir", filepath.Join(s.dir, name)}, flags...)...)
	p.cmd.Env = cleanEnv(os.Environ())
	p.cmd.Stderr = log
	bindToParent(p.cmd)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		heed(out)
		io.Copy(io.Discard, out)
		p.cmd.Wait() // how it ended is in its log, or was our doing
	}()
	return p, nil
}

// kill ends the process as a power failure would, and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill() // an error says that it has ended
	<-p.ended
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// agent is a kith agent as a child process.
type agent struct {
	*process
	ready chan agentReady // receives the ready line, is closed without one
	api   *httpapi.Client // set once ready
}

// startAgent runs an agent; awaitReady tells when it is up.
func (s *stage) startAgent(name string) (*agent, error) {
	a := &agent{ready: make(chan agentReady, 1)}
	heed := func(out io.Reader) {
		defer close(a.ready)
		var ready agentReady
		lines := bufio.NewScanner(out)
		if lines.Scan() && json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Ready {
			a.ready <- ready
		}
	}
	var err error
	a.process, err = s.spawn(name, heed, "agent", "--http", "127.0.0.1:0", "--json")
	return a, err
}

func (a *agent) awaitReady(ctx context.Context) error {
	select {
	case ready, ok := <-a.ready:
		if !ok {
			return fmt.Errorf("the agent %s ended before it was ready", a.name)
		}
		client, err := httpapi.NewClient(ready.HTTP, "")
		a.api = client
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the agent %s to be ready: %w", a.name, context.Cause(ctx))
	}
}

// kill ends the agent as a power failure would, and waits for its end.
func (a *agent) kill() {
	a.process.kill()
	if a.api != nil {
		a.api.Close()
	}
}
