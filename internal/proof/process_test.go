//go:build unix

package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kith-go/kith/internal/check"
)

// errEnded: the process is dead, or is about to be.
var errEnded = errors.New("the replica's process has ended")

// process is one life of a replica's process, as the test sees it. It is safe for
// concurrent use.
type process struct {
	cmd     *exec.Cmd
	invited atomic.Bool   // to end
	quit    chan struct{} // closed by leave
	lines   chan []byte
	hello   chan answer   // has the answer with ID 0, once
	ended   chan struct{} // closed when nothing more is to be heard, and cmd has been waited for
	wg      sync.WaitGroup
	leave   func()
	written atomic.Int64 // requests that the system has taken over

	mu    sync.Mutex // guards the fields below
	calls map[uint64]*call
	last  uint64
}

// call is a request under way.
type call struct {
	answers chan answer
	gone    chan struct{} // closed when nobody waits for answers any more
}

// launch starts a replica's process, which writes its log behind what is in logPath.
// It does not wait until the replica has started.
func launch(s spec, logPath string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), specVariable+"="+string(text), "PEERS_SYNC_URL=", "KITH_KEY_FILE=")
	cmd.Stderr = log
	cmd.SysProcAttr = apart()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd: cmd, quit: make(chan struct{}), lines: make(chan []byte), hello: make(chan answer, 1),
		ended: make(chan struct{}), calls: make(map[uint64]*call),
	}
	p.leave = sync.OnceFunc(func() { close(p.quit) })
	p.wg.Go(func() { p.write(in) })
	p.wg.Go(func() { p.read(out) })
	return p, nil
}

// write ends with the process, or when it is to leave: the end of its standard input
// tells it to.
func (p *process) write(in io.WriteCloser) {
	defer in.Close()
	for {
		select {
		case line := <-p.lines:
			if _, err := in.Write(line); err != nil {
				return // it is dead, and read finds out
			}
			p.written.Add(1)
		case <-p.quit:
			return
		case <-p.ended:
			return
		}
	}
}

func (p *process) read(out io.Reader) {
	defer close(p.ended)
	for lines := json.NewDecoder(out); ; {
		var a answer
		if err := lines.Decode(&a); err != nil {
			if !errors.Is(err, io.EOF) {
				p.cmd.Process.Kill() // it talks nonsense, or is dead already
			}
			break
		}
		p.deliver(a)
	}
	p.cmd.Wait()
}

func (p *process) deliver(a answer) {
	if a.ID == 0 {
		p.hello <- a
		return
	}
	p.mu.Lock()
	c := p.calls[a.ID]
	p.mu.Unlock()
	if c == nil {
		return // too late
	}
	select {
	case c.answers <- a:
	case <-c.gone:
	}
}

func (p *process) begin() (uint64, *call) {
	c := &call{answers: make(chan answer), gone: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.calls[p.last] = c
	return p.last, c
}

func (p *process) forget(id uint64) {
	p.mu.Lock()
	c := p.calls[id]
	delete(p.calls, id)
	p.mu.Unlock()
	close(c.gone)
}

// ask has the replica do q, and calls each for every event that it tells meanwhile.
// It blocks until there is an answer, until the process or ctx ends. sent is false
// if the replica certainly never hears of it.
func (p *process) ask(ctx context.Context, q request, each func(check.Event)) (a answer, sent bool, err error) {
	id, c := p.begin()
	defer p.forget(id)
	q.ID = id
	if deadline, ok := ctx.Deadline(); ok {
		q.Millis = max(time.Until(deadline).Milliseconds(), 1)
	}
	line, err := json.Marshal(q)
	if err != nil {
		return answer{}, false, err
	}
	select {
	case p.lines <- append(line, '\n'):
	case <-p.ended:
		return answer{}, false, errEnded
	case <-p.quit:
		return answer{}, false, errEnded
	case <-ctx.Done():
		return answer{}, false, context.Cause(ctx)
	}
	for {
		select {
		case a := <-c.answers:
			if a.Event == nil {
				return a, true, a.err()
			}
			each(*a.Event)
		case <-p.ended:
			return answer{}, true, errEnded
		case <-ctx.Done():
			return answer{}, true, context.Cause(ctx)
		}
	}
}

// started waits until the replica has started, and returns why it could not.
func (p *process) started(ctx context.Context) error {
	select {
	case a := <-p.hello:
		p.hello <- a // for whoever asks next
		return a.err()
	case <-p.ended:
		select {
		case a := <-p.hello: // its last words
			p.hello <- a
			return a.err()
		default:
			return fmt.Errorf("%w before it started", errEnded)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dead reports whether nothing more is to be heard of it.
func (p *process) dead() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill sends SIGKILL and does not wait.
func (p *process) kill() {
	p.invited.Store(true)
	p.cmd.Process.Kill()
}

// pause stops the process, until resume. One that is dead stays so. The signal is only on
// its way when it has been sent: on a busy machine threads run on, for long enough to
// answer what is asked of them next.
func (p *process) pause() {
	p.cmd.Process.Signal(syscall.SIGSTOP)
	for sent := time.Now(); p.runs() && time.Since(sent) < patience; {
		time.Sleep(time.Millisecond)
	}
}

// runs tells whether a thread of the process is neither stopped nor dead, where /proc tells.
func (p *process) runs() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, path := range threads {
		stat, _ := os.ReadFile(path)
		// proc_pid_stat(5): the state comes after the name, which is in parentheses.
		if _, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" ")); len(state) > 0 && !bytes.Contains([]byte("TtZX"), state[:1]) {
			return true
		}
	}
	return false
}

func (p *process) resume() { p.cmd.Process.Signal(syscall.SIGCONT) }

// close ends the process: by asking it to and, if it does not within a while, by
// force, which is an error; as is an exit code that tells of trouble.
func (p *process) close(patience time.Duration) error {
	p.resume()
	asked := !p.invited.Swap(true)
	p.leave()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-p.ended:
		if asked && p.cmd.ProcessState.ExitCode() != 0 {
			err = fmt.Errorf("asked to end, it did with %v", p.cmd.ProcessState)
		}
	case <-timer.C:
		err = fmt.Errorf("asked to end, it did not within %v", patience)
		p.cmd.Process.Signal(syscall.SIGQUIT) // tells in the log where it hangs
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
		}
	}
	p.cmd.Process.Kill()
	p.wg.Wait()
	return err
}
