//go:build unix

package proof

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/kv"
)

// serve is a replica's process: it answers what it reads from in on out, until in
// ends, and returns the exit code.
func serve(text string, in io.Reader, out io.Writer) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	answers := make(chan answer, 64)
	var writer sync.WaitGroup
	writer.Go(func() { write(out, answers) })
	defer writer.Wait()
	defer close(answers)

	node, err := start(ctx, text)
	if err != nil {
		a := answer{}
		a.fail(err)
		answers <- a
		return 1
	}
	answers <- answer{}
	held := &holdings{node: node, all: make(map[string]holding)}
	var work sync.WaitGroup
	requests := json.NewDecoder(bufio.NewReader(in))
	for {
		var q request
		if err = requests.Decode(&q); err != nil {
			break
		}
		work.Go(func() { handle(ctx, node, held, q, answers) })
	}
	stop()
	work.Wait()
	if !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "a request that is none:", err)
		return 1
	}
	if err := node.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close:", err)
		return 1
	}
	return 0
}

func start(ctx context.Context, text string) (*kith.Node, error) {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	if s.UID != 0 {
		if err := syscall.Setuid(s.UID); err != nil {
			return nil, err
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("process", os.Getpid())
	return kith.Start(ctx, kith.Config{Name: s.Name, PeersPath: s.PeersPath, Dir: s.Dir, Logger: log})
}

// write writes answers until there are no more. If nobody reads them the test has
// died, and in will end too.
func write(out io.Writer, answers <-chan answer) {
	lines := json.NewEncoder(out)
	for a := range answers {
		lines.Encode(a)
	}
}

func handle(ctx context.Context, node *kith.Node, held *holdings, q request, answers chan<- answer) {
	if q.Millis > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(q.Millis)*time.Millisecond)
		defer cancel()
	}
	a := answer{ID: q.ID}
	var err error
	switch {
	case q.Guard != "":
		var r check.Result
		r, err = held.write(ctx, q.Guard, *q.Op)
		a.Result = &r
	case q.Acquire != nil:
		a.Token, err = held.acquire(ctx, *q.Acquire)
	case q.Await != "":
		err = held.await(ctx, q.Await)
	case q.Release != "":
		err = held.release(ctx, q.Release)
	case q.Look != nil:
		a.Seen, err = held.look(ctx, *q.Look)
	case q.Op != nil:
		var r check.Result
		r, err = do(ctx, node.KV(), *q.Op)
		a.Result = &r
	case q.Watch != nil:
		err = watch(ctx, node.KV(), *q.Watch, func(e check.Event) { answers <- answer{ID: q.ID, Event: &e} })
	case q.Ready:
		err = node.Ready(ctx)
	case q.Status:
		s := node.Status()
		a.Status = &status{Problems: s.Problems}
		if s.Agreement != nil {
			a.Status.Agreement = *s.Agreement
		}
	default:
		err = errors.New("nothing is asked")
	}
	if err != nil {
		a.fail(err)
	}
	answers <- a
}

// watch tells the changes that q asks for. Its error is why it ended before Until.
func watch(ctx context.Context, keys *kv.Store, q watchFrom, tell func(check.Event)) error {
	for c, err := range keys.Watch(ctx, q.Prefix, kv.Revision(q.After)) {
		if err != nil {
			return err
		}
		tell(event(c))
		if c.Key == q.Until {
			return nil
		}
	}
	return errors.New("the stream has ended")
}

func event(c kv.Change) check.Event {
	e := check.Event{Key: c.Key, Value: string(c.Value), Revision: uint64(c.Revision), Prev: uint64(c.Previous)}
	switch {
	case c.Kind == kv.Written && c.Existing:
		e.Kind, e.Prev = check.Existing, 0
	case c.Kind == kv.Written:
		e.Kind, e.More = check.Put, !c.Last
	case c.Kind == kv.Deleted || c.Kind == kv.Expired:
		e.Kind, e.More = check.Deleted, !c.Last
	case c.Kind == kv.Resync:
		e.Kind = check.Resync
	case c.Kind == kv.Synced:
		e.Kind, e.Prev = check.Synced, 0
	}
	return e
}
