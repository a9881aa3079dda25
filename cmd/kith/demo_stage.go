package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/peers"
)

// stage is what the steps of a demo share: a directory and the processes.
type stage struct {
	program   string // what all processes run: this very program
	dir       string
	peersFile string
	agents    map[string]*agent // by name, also those that have ended
	workers   map[string]*worker
	ports     map[uint16]bool // handed out already

	killed       string // the leader that was killed
	acknowledged []int  // the writes that must be there for good

	order   []string // of the workers, the one that leads first
	token   uint64   // the greatest that one has led with
	stopped string   // the worker that is stopped now
}

func newStage() (*stage, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program to run it as an agent: %w", err)
	}
	dir, err := os.MkdirTemp("", "kith-demo-")
	if err != nil {
		return nil, err
	}
	return &stage{
		program: program, dir: dir, peersFile: filepath.Join(dir, "peers.json"),
		agents: make(map[string]*agent), workers: make(map[string]*worker), ports: make(map[uint16]bool),
	}, nil
}

// strike kills every process, waits for their ends, and removes the directory.
func (s *stage) strike(keep bool) error {
	for _, a := range s.agents {
		a.kill()
	}
	for _, w := range s.workers {
		w.kill()
	}
	if keep {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// showLogs prints the end of every node's log.
func (s *stage) showLogs(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(s.agents)) {
		fmt.Fprintf(w, "\n--- the end of %s's log\n%s\n", name, clean(tail(s.agents[name].logFile, 20)))
	}
}

// newPeer returns a peer on the loopback with ports that are free now.
func (s *stage) newPeer(name string) (peers.Peer, error) {
	p := peers.Peer{Name: name, IPAddr: "127.0.0.1", Description: "made by kith demo"}
	for _, port := range []*uint16{&p.Port, &p.ControlPort} {
		free, err := s.freePort()
		if err != nil {
			return peers.Peer{}, err
		}
		*port = free
	}
	return p, nil
}

// freePort returns a port that is free for TCP and UDP. It is drawn below the
// range from which systems serve outgoing connections (32768 and up on Linux,
// 49152 elsewhere), so that none of those takes it before the agent does.
func (s *stage) freePort() (uint16, error) {
	const tries = 200
	for range tries {
		port := uint16(20000 + rand.IntN(12000))
		if !s.ports[port] && isFree(port) {
			s.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between 20000 and 32000 on 127.0.0.1 after %d attempts", tries)
}

func isFree(port uint16) bool {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	ln.Close()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	pc.Close()
	return true
}

// start runs agents, all at the same time as machines do after a power cut, and
// waits until they are ready.
func (s *stage) start(ctx context.Context, names ...string) error {
	for _, name := range names {
		a, err := s.startAgent(name)
		if err != nil {
			return fmt.Errorf("starting the agent %s: %w", name, err)
		}
		s.agents[name] = a
	}
	for _, name := range names {
		if err := s.agents[name].awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// everybody waits until every running agent sees what seen looks for; what says
// what that is.
func (s *stage) everybody(ctx context.Context, what string, seen func(httpapi.Nodes) bool) error {
	var watches sync.WaitGroup
	errs := make(chan error, len(s.agents))
	for _, a := range s.agents {
		if a.running() && a.api != nil {
			watches.Go(func() { errs <- a.until(ctx, what, seen) })
		}
	}
	watches.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// until follows what the agent sees until it is what seen looks for.
func (a *agent) until(ctx context.Context, what string, seen func(httpapi.Nodes) bool) error {
	var last httpapi.Nodes
	for event, err := range a.api.WatchNodes(ctx) {
		if err != nil {
			return fmt.Errorf("%s did not see that %s (it saw %s): %w", a.name, what, glance(last), err)
		}
		if last = event.Nodes; seen(last) {
			return nil
		}
	}
	return fmt.Errorf("%s stopped telling what it sees", a.name)
}

// glance tells who is in what state, in one line.
func glance(nodes httpapi.Nodes) string {
	words := make([]string, len(nodes.Nodes))
	for i, n := range nodes.Nodes {
		words[i] = n.Name + " " + n.Status
	}
	if len(words) == 0 {
		return "nothing yet"
	}
	return strings.Join(words, ", ")
}

// writePeers makes the peers file and a key beside it.
func (s *stage) writePeers(ctx context.Context, names ...string) error {
	if err := writeKey(filepath.Join(s.dir, "key"), kith.NewKey(), false); err != nil {
		return err
	}
	return s.addPeers(ctx, names...)
}

// addPeers edits the peers file as kith peers add does.
func (s *stage) addPeers(ctx context.Context, names ...string) error {
	_, err := editFile(ctx, io.Discard, s.peersFile, true, false, func(list *peers.Peers) error {
		for _, name := range names {
			p, err := s.newPeer(name)
			if err != nil {
				return err
			}
			if err := addPeer(list, p, false); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
