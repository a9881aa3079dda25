//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/transport"
)

// childVar makes this test binary the peer named bravo: endpoint, incarnation, alpha's
// endpoint and the key, by spaces.
const childVar = "KITH_ZMQ_TEST_PEER"

// beatOfProcesses is short, and long enough for a loaded machine.
const beatOfProcesses = 300 * time.Millisecond

// TestPeerProcess is not a test: it is bravo, in a process of its own.
func TestPeerProcess(t *testing.T) {
	words := strings.Fields(os.Getenv(childVar))
	if len(words) != 4 {
		t.Skip("a helper of the other tests")
	}
	incarnation, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	key, err := secret.Parse(words[3])
	if err != nil {
		t.Fatal(err)
	}
	m, err := transport.New(transport.Config{
		Name: "bravo", Incarnation: incarnation,
		Engine: New(Config{Endpoint: words[0], Key: key, Heartbeat: beatOfProcesses}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Handle("echo", echo, transport.Concurrency(512)))
	var hanging atomic.Int32
	must(m.Handle("hang", func(ctx context.Context, _ transport.Message) (transport.Message, error) {
		hanging.Add(1)
		<-ctx.Done()
		return transport.Message{}, ctx.Err()
	}))
	must(m.Handle("hanging", func(context.Context, transport.Message) (transport.Message, error) {
		return transport.Message{Body: strconv.AppendInt(nil, int64(hanging.Load()), 10)}, nil
	}))
	must(m.HandleStream("flood", func(_ context.Context, s *transport.Stream) error {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := s.Write(chunk); err != nil {
				return err
			}
		}
	}))
	m.SetPeers([]transport.Address{{Name: "alpha", Endpoint: words[2]}})
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until the parent ends
}

// peerProcess starts bravo and waits until it listens.
func peerProcess(t testing.TB, at string, incarnation uint64, alpha string, key secret.Key) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPeerProcess$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", childVar, at, incarnation, alpha, key.Text()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return cmd
		}
	}
	t.Fatal("bravo did not start")
	return nil
}

// TestKilledAndStoppedProcesses is the bad day of a real peer: killed in the middle of
// requests and streams, restarted, stopped and continued.
func TestKilledAndStoppedProcesses(t *testing.T) {
	key := secret.NewKey()
	e := New(Config{Endpoint: "tcp://127.0.0.1:*", Key: key, Heartbeat: beatOfProcesses})
	alpha, err := transport.New(transport.Config{Name: "alpha", Incarnation: 1, Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	defer alpha.Close()
	there := freeEndpoint(t)
	alpha.SetPeers([]transport.Address{{Name: "bravo", Endpoint: there}})
	bravo := peerProcess(t, there, 1, e.Endpoint(), key)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	handle := alpha.Peer("bravo")
	works := func(what string) {
		t.Helper()
		if reply, err := handle.Request(ctx, "echo", []byte("x")); err != nil || string(reply.Body) != "x" {
			t.Fatalf("%s: %q, %v", what, reply.Body, err)
		}
	}
	works("a request")

	// hang starts requests that are not answered, and returns where their errors come.
	hang := func() chan error {
		failed := make(chan error, 10)
		for range cap(failed) {
			go func() {
				_, err := handle.Request(ctx, "hang", nil)
				failed <- err
			}()
		}
		for {
			reply, err := handle.Request(ctx, "hanging", nil)
			if err != nil {
				t.Fatal(err)
			}
			if string(reply.Body) == strconv.Itoa(cap(failed)) {
				return failed
			}
		}
	}
	fell := func(failed chan error, what string) (took time.Duration) {
		t.Helper()
		begin := time.Now()
		for range cap(failed) {
			err := <-failed
			if !errors.Is(err, transport.ErrUnreachable) && !errors.Is(err, transport.ErrPeerRestarted) || outcome.Of(err) != outcome.Unknown {
				t.Errorf("%s: %v", what, err)
			}
		}
		return time.Since(begin)
	}

	failed := hang()
	stream, err := handle.OpenStream(ctx, "flood")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, stream, 1<<20); err != nil {
		t.Fatal(err)
	}
	bravo.Process.Kill()
	t.Logf("killed: requests failed after %v", fell(failed, "killed"))
	if _, err := io.Copy(io.Discard, stream); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("the stream of who was killed ended with %v", err)
	}
	bravo.Wait()
	if _, err := handle.Request(ctx, "echo", nil, transport.FailFast()); !errors.Is(err, transport.ErrUnreachable) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("a new request to the dead: %v", err)
	}
	bravo = peerProcess(t, there, 2, e.Endpoint(), key)
	works("the same handle, after the restart")

	failed = hang()
	bravo.Process.Signal(syscall.SIGSTOP)
	t.Logf("stopped: requests failed after %v, of beats of %v", fell(failed, "stopped"), beatOfProcesses)
	bravo.Process.Signal(syscall.SIGCONT)
	works("the same handle, after the pause")
}
