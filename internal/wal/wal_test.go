package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

// check opens the log of a disk again and compares.
func check(t *testing.T, d *memdisk.Disk, want image) {
	t.Helper()
	got, damage, err := verdict(d)
	if damage != nil || err != nil || !got.equal(want) {
		t.Fatalf("%v, %v\ngot  %v\nwant %v", damage, err, got, want)
	}
}

// fill appends entries of one size until the log has that many segments.
func fillTo(t *testing.T, l *Log, m image, segments int) image {
	t.Helper()
	for l.Stats().Segments < segments {
		e := []Entry{entry(m.last()+1, 600)}
		must(t, l.Append(nil, e, true))
		m = m.with(nil, e)
	}
	return m
}

func TestArguments(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	m := fillTo(t, l, image{}, 2)
	must(t, l.Compact(3, 1))
	m = image{position{3, 1}, m.entries[3:], m.state}
	for name, call := range map[string]func() error{
		"a gap":           func() error { return l.Append(nil, []Entry{entry(m.last()+2, 1)}, true) },
		"a gap within":    func() error { return l.Append(nil, []Entry{entry(m.last()+1, 1), entry(m.last()+3, 1)}, true) },
		"out of order":    func() error { return l.Append(nil, []Entry{entry(m.last()+1, 1), entry(m.last(), 1)}, true) },
		"before the base": func() error { return l.Append(nil, []Entry{entry(3, 1)}, true) },
		"compact too far": func() error { return l.Compact(m.last()+1, 1) },
	} {
		if err := call(); err == nil || errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := []Entry{{Index: m.last() + 1, Data: make([]byte, maxBatch)}}
	if err := l.Append(nil, large, true); !errors.Is(err, ErrTooLarge) {
		t.Error("1 GiB: ", err)
	}
	must(t, l.Compact(3, 1)) // a repeat changes nothing
	must(t, l.Compact(1, 1))
	must(t, l.Append(nil, nil, true))
	must(t, l.Close())
	check(t, d, m)
}

// TestSegments: they are used again, their number stays bounded, and conflicts do
// not keep any alive.
func TestSegments(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	m := image{}
	for range 10 {
		m = fillTo(t, l, m, 6)
		keep := m.last() - 1
		must(t, l.Compact(keep, 1))
		m = image{position{keep, 1}, m.entries[len(m.entries)-1:], m.state}
		if s := l.Stats(); s.Segments > 2 || s.DiskBytes > (2+maxSpares)*minSegment || s.First != keep+1 || s.Last != keep+1 {
			t.Fatalf("%+v", s)
		}
	}
	// A conflict at the beginning makes all that follows unneeded.
	m = fillTo(t, l, m, 5)
	e := []Entry{{Index: m.base.index + 1, Term: 2}, {Index: m.base.index + 2, Term: 2}}
	must(t, l.Append(nil, e, true))
	must(t, l.Compact(m.base.index+1, 2))
	if s := l.Stats(); s.Segments > 1 {
		t.Errorf("after a conflict: %+v", s)
	}
	must(t, l.Close())
	check(t, d, image{position{e[0].Index, 2}, e[1:], m.state})
}

func TestReset(t *testing.T) {
	for _, index := range []uint64{2, 1000} { // inside and beyond what is there
		d := memdisk.New()
		l, _ := open(t, d.Mount())
		fillTo(t, l, image{}, 3)
		must(t, l.Reset(index, 7, State{Term: 7, Commit: index}))
		if s := l.Stats(); s.Segments != 1 || s.First != index+1 || s.Last != index || s.EntryBytes != 0 {
			t.Errorf("%+v", s)
		}
		e := []Entry{{Index: index + 1, Term: 8, Data: []byte("next")}}
		must(t, l.Append(nil, e, true))
		must(t, l.Close())
		check(t, d, image{position{index, 7}, e, State{Term: 7, Commit: index}})
	}
}

// TestLargeBatches: a batch may be many times as long as a segment, and the
// segment that was made for it goes when it is not needed any more.
func TestLargeBatches(t *testing.T) {
	for _, opts := range []Options{{Foreground: true}, {}} {
		opts.SegmentBytes = minSegment
		d := memdisk.New()
		l, _, err := Open(d.Mount(), dir, opts)
		must(t, err)
		m := image{}
		for i, size := range []int{sectorRoom - 30, 3000, 3 << 20, 0, 100_000, 1, 8000} {
			e := []Entry{entry(uint64(i)+1, size)}
			must(t, l.Append(nil, e, i%2 == 0))
			m = m.with(nil, e)
		}
		must(t, l.Close())
		check(t, d, m)
		l, _, err = Open(d.Mount(), dir, opts)
		must(t, err)
		must(t, l.Compact(7, 1))
		if s := l.Stats(); s.DiskBytes > 10*minSegment {
			t.Errorf("%+v", s)
		}
		m = fillTo(t, l, image{base: position{7, 1}}, 4)
		must(t, l.Close())
		check(t, d, m)
	}
}

// TestFailedForEver: after a write or a sync that failed the log takes nothing
// more, and says what the first cause was (S4).
func TestFailedForEver(t *testing.T) {
	for _, kind := range []memdisk.Kind{memdisk.Write, memdisk.Sync} {
		d := memdisk.New()
		l, _ := open(t, d.Mount())
		m := fillTo(t, l, image{}, 2)
		cause := fmt.Errorf("kind %d: %w", kind, syscall.EIO)
		d.Fail(kind, 1, cause)
		for name, err := range map[string]error{
			"append":  l.Append(nil, []Entry{entry(m.last()+1, 1)}, true),
			"again":   l.Append(nil, []Entry{entry(m.last()+1, 1)}, true),
			"nothing": l.Append(nil, nil, true),
			"compact": l.Compact(1, 1),
			"reset":   l.Reset(1, 1, State{}),
			"close":   l.Close(),
			"closed":  l.Close(),
		} {
			if !errors.Is(err, ErrFailed) || !errors.Is(err, cause) {
				t.Errorf("kind %d, %s: %v", kind, name, err)
			}
		}
		if err := l.Append(nil, nil, true); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		d.Crash(rand.New(rand.NewPCG(1, uint64(kind))))
		got, damage, err := verdict(d)
		if damage != nil || err != nil || !got.equal(m) && !got.equal(m.with(nil, []Entry{entry(m.last()+1, 1)})) {
			t.Errorf("%v, %v: %v", damage, err, got)
		}
	}
}

// TestNoSpace: while the disk is full a batch that needs another segment is
// refused whole; Compact goes on, and when it gives up a segment, so does Append.
func TestNoSpace(t *testing.T) {
	for _, foreground := range []bool{true, false} {
		for _, kind := range []memdisk.Kind{memdisk.Create, memdisk.Write, memdisk.Sync, memdisk.Rename} {
			t.Run(fmt.Sprint(foreground, kind), func(t *testing.T) {
				d := memdisk.New()
				l, _, err := Open(d.Mount(), dir, Options{SegmentBytes: minSegment, Foreground: foreground})
				must(t, err)
				m := fillTo(t, l, image{}, 3)
				full := true
				var mu sync.Mutex // guards full
				d.OnOp(func(op memdisk.Op) error {
					mu.Lock()
					defer mu.Unlock()
					if full && op.Kind == kind && strings.HasSuffix(op.Path, tempSuffix) {
						return syscall.ENOSPC
					}
					return nil
				})
				for err == nil {
					e := []Entry{entry(m.last()+1, 600)}
					if err = l.Append(&State{Term: 9}, e, true); err == nil {
						m = m.with(&State{Term: 9}, e)
					}
				}
				for range 3 {
					err := l.Append(nil, []Entry{entry(m.last()+1, 600)}, true)
					if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
						t.Fatal(err)
					}
				}
				check(t, d.Clone(), m)
				for i := range uint64(2) { // snapshots that make no room
					must(t, l.Compact(i+1, 1))
				}
				must(t, l.Close())
				l, _, err = Open(d.Mount(), dir, Options{SegmentBytes: minSegment, Foreground: foreground})
				must(t, err)
				if foreground {
					if err := l.Append(nil, []Entry{entry(m.last()+1, 5000)}, true); !errors.Is(err, ErrNoSpace) {
						t.Fatal(err)
					}
				}
				mu.Lock()
				full = false
				mu.Unlock()
				e := []Entry{entry(m.last()+1, 5000)}
				must(t, l.Append(nil, e, true))
				m = m.with(nil, e)
				must(t, l.Close())
				check(t, d, image{position{2, 1}, m.entries[2:], m.state})
			})
		}
	}
}

// TestCompactMakesRoom: with the disk full, Compact frees a segment, which is all
// that Append needs.
func TestCompactMakesRoom(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	m := fillTo(t, l, image{}, 3)
	d.Fail(memdisk.Create, 1<<30, syscall.ENOSPC)
	var err error
	for err == nil {
		e := []Entry{entry(m.last()+1, 600)}
		if err = l.Append(nil, e, true); err == nil {
			m = m.with(nil, e)
		}
	}
	must(t, l.Compact(m.last()-1, 1))
	e := []Entry{entry(m.last()+1, 600)}
	must(t, l.Append(nil, e, true))
	must(t, l.Close())
	check(t, d, image{position{m.last() - 1, 1}, []Entry{m.entries[len(m.entries)-1], e[0]}, m.state})
}

// TestTurns: calls from many goroutines take turns, in virtual time too, and Close
// waits for what is being prepared.
func TestTurns(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		d := memdisk.New()
		l, _, err := Open(d.Mount(), dir, Options{SegmentBytes: minSegment})
		must(t, err)
		var wg sync.WaitGroup
		var mu sync.Mutex // guards next, which is the order of calls
		next := uint64(1)
		for range 4 {
			wg.Go(func() {
				for range 20 {
					mu.Lock()
					err := l.Append(nil, []Entry{entry(next, 300)}, false)
					next++
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					l.Stats()
				}
			})
			wg.Go(func() {
				for range 10 {
					if s := l.Stats(); s.Last > 3 {
						if err := l.Compact(s.Last-2, 1); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		must(t, l.Close())
		got, damage, err := verdict(d)
		if damage != nil || err != nil || got.last() != 80 {
			t.Error(damage, err, got)
		}
	})
}

// TestTornTail: the end of an unfinished batch is reported and cut; what it left
// is gone from the file.
func TestTornTail(t *testing.T) {
	d := memdisk.New()
	l, _ := open(t, d.Mount())
	e := []Entry{entry(1, 100)}
	must(t, l.Append(nil, e, true))
	must(t, l.Close())
	path := filepath.Join(dir, "00000001.wal")
	before := contents(t, d.Mount())[path]
	l, _ = open(t, d.Mount())
	must(t, l.Append(nil, []Entry{entry(2, 2000)}, false))
	must(t, l.Close())
	change(t, d.Mount(), path, 5*sectorSize, make([]byte, sectorSize)) // of 3 to 7
	_, r := open(t, d.Mount())
	if r.Torn == nil || *r.Torn != (Torn{path, 3 * sectorSize}) {
		t.Errorf("%+v", r.Torn)
	}
	if after := contents(t, d.Mount())[path]; !slices.Equal(before, after) {
		t.Error("something is left of it")
	}
	check(t, d, image{entries: e})
}

// idle is a file system whose files take everything and do nothing.
type idle struct{ disk.FS }

type idleFile struct{ disk.File }

func (f idle) Open(path string) (disk.File, error) {
	file, err := f.FS.Open(path)
	return idleFile{file}, err
}

func (idleFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (idleFile) Sync() error                            { return nil }

// TestAppendAllocates nothing, once its buffers are there.
func TestAppendAllocates(t *testing.T) {
	l, _, err := Open(idle{memdisk.New().Mount()}, dir, Options{Foreground: true})
	must(t, err)
	defer l.Close()
	st, entries := &State{}, []Entry{{Data: make([]byte, 2000)}}
	n := testing.AllocsPerRun(100, func() {
		entries[0].Index++
		st.Commit++
		must(t, l.Append(st, entries, true))
	})
	if n > 0 {
		t.Errorf("%v allocations for each Append", n)
	}
}

// BenchmarkAppend appends 4 KiB and syncs, on the disk that temporary directories
// are on.
func BenchmarkAppend(b *testing.B) {
	l, _, err := Open(disk.System{}, b.TempDir(), Options{})
	must(b, err)
	defer l.Close()
	entries := []Entry{{Term: 1, Data: make([]byte, 4000)}}
	b.ReportAllocs()
	for b.Loop() {
		entries[0].Index++
		must(b, l.Append(nil, entries, true))
		if entries[0].Index%10_000 == 0 {
			must(b, l.Compact(entries[0].Index-1, 1))
		}
	}
	s := l.Stats()
	b.ReportMetric(float64(s.SyncP50.Microseconds()), "p50-µs/sync")
	b.ReportMetric(float64(s.SyncP99.Microseconds()), "p99-µs/sync")
}
