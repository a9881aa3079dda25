package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const dir = "/state/wal"

// image is what a log holds at one moment.
type image struct {
	base    position
	entries []Entry
	state   State
}

func (m image) last() uint64 { return m.base.index + uint64(len(m.entries)) }

func (m image) equal(o image) bool {
	return m.base == o.base && m.state == o.state && slices.EqualFunc(m.entries, o.entries, func(a, b Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	})
}

func (m image) String() string {
	s := fmt.Sprintf("after %v, %+v:", m.base, m.state)
	for _, e := range m.entries {
		s += fmt.Sprintf(" %d/%d[%d]", e.Index, e.Term, len(e.Data))
	}
	return s
}

func imageOf(r *Recovered) image {
	return image{position{r.Index, r.Term}, r.Entries, r.State}
}

// with returns the image after an append.
func (m image) with(st *State, entries []Entry) image {
	if st != nil {
		m.state = *st
	}
	if len(entries) > 0 {
		keep := entries[0].Index - m.base.index - 1
		m.entries = slices.Concat(m.entries[:keep], entries)
	}
	return m
}

// subject is a log under test with all the images it went through: one for each
// call, the last one perhaps of a call under way.
type subject struct {
	mu      sync.Mutex // guards all below; a hook may run on the log's goroutine
	images  []image
	done    int // index of the last image that a call returned for
	durable int // index of the last image that must survive a crash
}

// fork copies the disk and returns the images that may be found on the copy after
// the loss of power, and, a part of those, after the death of the process. They
// are counted from before the copy is made to after it: calls may go on meanwhile.
func (s *subject) fork(disk *memdisk.Disk) (fork *memdisk.Disk, crashed, killed []image) {
	s.mu.Lock()
	durable, done := s.durable, s.done
	s.mu.Unlock()
	fork = disk.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	return fork, slices.Clone(s.images[durable:]), slices.Clone(s.images[done:])
}

func (s *subject) begin(m image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images = append(s.images, m)
}

func (s *subject) end(durable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = len(s.images) - 1
	if durable {
		s.durable = s.done
	}
}

func (s *subject) now() image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.images[len(s.images)-1]
}

// writer makes entries that never repeat, so that nothing old passes for new.
type writer struct {
	term uint64
	n    byte
}

func (w *writer) entries(rng *rand.Rand, first uint64) []Entry {
	sizes := []int{0, 1, 40, 100, 400, 900, 3000, 20_000}
	w.term++
	entries := make([]Entry, 1+rng.IntN(3))
	for i := range entries {
		w.n++
		size := sizes[rng.IntN(len(sizes)-rng.IntN(2))]
		entries[i] = Entry{Index: first + uint64(i), Term: w.term, Type: w.n % 3, Data: bytes.Repeat([]byte{w.n}, size)}
	}
	return entries
}

// step makes one random call, or a few, and keeps the books.
func (s *subject) step(l *Log, rng *rand.Rand, w *writer) (err error) {
	now := s.now()
	durable := rng.IntN(2) == 0
	switch k := rng.IntN(10); {
	case k < 7: // append
		first := now.last() + 1
		if len(now.entries) > 0 && rng.IntN(5) == 0 { // a conflict
			first = now.base.index + 1 + rng.Uint64N(uint64(len(now.entries)))
		}
		var st *State
		if rng.IntN(2) == 0 {
			st = &State{w.term, rng.Uint64N(5), now.base.index}
		}
		entries := w.entries(rng, first)
		if k == 6 {
			entries = nil
		}
		s.begin(now.with(st, entries))
		err = l.Append(st, entries, durable)
	case k < 9 && len(now.entries) > 0: // compact
		at := rng.IntN(len(now.entries))
		e := now.entries[at]
		next := image{position{e.Index, e.Term}, slices.Clone(now.entries[at+1:]), now.state}
		s.begin(next)
		durable = true
		err = l.Compact(e.Index, e.Term)
	case k == 9 && rng.IntN(3) == 0:
		base := position{now.base.index + rng.Uint64N(2*uint64(len(now.entries))+4), w.term}
		s.begin(image{base: base, state: State{Term: w.term}})
		durable = true
		err = l.Reset(base.index, base.term, State{Term: w.term})
	default:
		return nil
	}
	if err == nil {
		s.end(durable)
	}
	return err
}

// reopened opens the log of a crashed disk and checks that it holds one of the
// images; it returns that.
func reopened(disk *memdisk.Disk, candidates []image) (*Log, image, error) {
	l, r, err := Open(disk.Mount(), dir, Options{SegmentBytes: minSegment, Foreground: true})
	if err != nil {
		return nil, image{}, fmt.Errorf("open: %w", err)
	}
	found := imageOf(r)
	if slices.ContainsFunc(candidates, found.equal) {
		return l, found, nil
	}
	err = fmt.Errorf("found    %v", found)
	for _, c := range candidates {
		err = fmt.Errorf("%w\nexpected %v", err, c)
	}
	return nil, image{}, errors.Join(err, l.Close())
}

// survives checks a copy of the disk after its process died, or the power went:
// the log opens, holds what it must, keeps that through a loss of power right
// afterwards, and works on.
func survives(s *subject, of *memdisk.Disk, rng *rand.Rand, power bool) error {
	disk, crashed, candidates := s.fork(of)
	if power {
		disk.Crash(rng)
		candidates = crashed
	}
	var nested error
	seed := rng.Uint64()
	disk.OnOp(func(op memdisk.Op) error { // recovery may be cut short, too
		if op.Kind.Changes() && nested == nil && rng.IntN(3) == 0 {
			again := disk.Clone()
			again.Crash(rand.New(rand.NewPCG(seed, uint64(op.N))))
			var l *Log
			if l, _, nested = reopened(again, crashed); nested == nil {
				nested = l.Close()
			} else {
				nested = fmt.Errorf("crash in recovery, at %+v: %w", op, nested)
			}
		}
		return nil
	})
	l, found, err := reopened(disk, candidates)
	disk.OnOp(nil)
	if err = errors.Join(err, nested); err != nil {
		return err
	}
	if rng.IntN(2) == 0 {
		disk.Crash(rng)
		l.Close() // of a dead process
		if l, _, err = reopened(disk, []image{found}); err != nil {
			return fmt.Errorf("a crash after recovery: %w", err)
		}
	}
	s = &subject{images: []image{found}}
	w := &writer{term: 1 << 20, n: 128}
	for range 5 {
		if err := s.step(l, rng, w); err != nil {
			return fmt.Errorf("going on: %w", err)
		}
	}
	fork, crashed, _ := s.fork(disk)
	fork.Crash(rng)
	again, _, err := reopened(fork, crashed)
	if err == nil {
		err = again.Close()
	}
	if err = errors.Join(err, l.Close()); err != nil {
		return fmt.Errorf("a crash after going on: %w", err)
	}
	if l, _, err = reopened(disk, []image{s.now()}); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	return l.Close()
}

// crashEverywhere makes calls of a log while, before each operation on the disk,
// copies of the disk crash.
func crashEverywhere(seed uint64, steps int, opts Options) error {
	disk := memdisk.New()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &subject{images: []image{{}}}
	var mu sync.Mutex // guards failed
	var failed error
	check := func(op memdisk.Op) error {
		if !op.Kind.Changes() {
			return nil
		}
		luck := rand.New(rand.NewPCG(seed, uint64(op.N)<<8))
		for _, power := range []bool{true, false} {
			if err := survives(s, disk, luck, power); err != nil {
				mu.Lock()
				if failed == nil {
					failed = fmt.Errorf("power loss %v, before %+v: %w", power, op, err)
				}
				mu.Unlock()
			}
		}
		return nil
	}
	disk.OnOp(check)
	opts.SegmentBytes = minSegment
	l, _, err := Open(disk.Mount(), dir, opts)
	if err != nil {
		return err
	}
	w := &writer{}
	for range steps {
		if err := s.step(l, rng, w); err != nil {
			return err
		}
		if rng.IntN(10) == 0 {
			if err := l.Close(); err != nil {
				return err
			}
			var r *Recovered
			if l, r, err = Open(disk.Mount(), dir, opts); err != nil {
				return fmt.Errorf("reopen: %w", err)
			}
			s.end(true)
			if found := imageOf(r); !found.equal(s.now()) || r.Torn != nil {
				return fmt.Errorf("reopened:\nfound    %v\nexpected %v\n%+v", found, s.now(), r.Torn)
			}
		}
		mu.Lock()
		err := failed
		mu.Unlock()
		if err != nil {
			return errors.Join(err, l.Close())
		}
	}
	err = l.Close()
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed)
}

// seeds is for a soak: go test -run CrashAnywhere -seeds 1000
var seeds = flag.Uint64("seeds", 5, "how many sequences of calls the crash tests try, each in both ways")

// TestCrashAnywhere: wherever a process dies or the power goes, what was
// acknowledged is there, in order, and nothing else (S4).
func TestCrashAnywhere(t *testing.T) {
	for seed := range *seeds {
		for _, opts := range []Options{{Foreground: true}, {Foreground: false}} {
			if err := crashEverywhere(seed, 25, opts); err != nil {
				t.Errorf("foreground %v, seed %d: %v", opts.Foreground, seed, err)
			}
		}
	}
}
