package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/planted"
)

// Entry is one entry of the Raft log.
type Entry struct {
	Index, Term uint64
	Type        uint8  // Raft's own; the log only keeps it
	Data        []byte // may be empty
}

// State is what Raft calls its HardState.
type State struct {
	Term, Vote, Commit uint64
}

// Options are choices of [Open]. The zero value is ready.
type Options struct {
	// SegmentBytes is the length of a segment file: 16 MiB by default, 8 KiB at
	// least, 1 GiB at most. A batch that needs more has a longer one made for it.
	SegmentBytes int64
	// Foreground has segments prepared when they are needed, instead of beforehand
	// on a goroutine, so that what happens on the disk depends on the calls alone.
	Foreground bool
	// Log is told what a person may want to know; nil for nobody.
	Log *slog.Logger
}

func (o Options) ready() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = normalBytes
	}
	o.SegmentBytes = min(max(o.SegmentBytes, minSegment), maxBatch)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// sectors returns how many a segment has.
func (o Options) sectors() int { return int(o.SegmentBytes / sectorSize) }

// Log is an open log. It is safe for concurrent use: Append, Compact, Reset and
// Close take turns, and each blocks while the disk works.
//
// The errors of Append, Compact and Reset wrap [ErrFailed], [ErrNoSpace],
// [ErrTooLarge] or [ErrClosed]; one that wraps none of them says that the arguments
// do not fit the log, which is then unchanged.
type Log struct {
	opts Options
	shop shop
	turn chan struct{} // holds one element while a call has its turn

	// Touched only by the call whose turn it is.
	ledger
	file     disk.File   // the last segment's; nil before the first batch
	writer   disk.Writer // of batches
	at       int         // number of the sector where the next batch goes
	synced   int         // number of the first sector that is not synced
	chain    uint32      // over all batches
	ready    []*segment  // prepared, to be used in this order
	spares   []*segment  // were segments, and may become some again
	awaiting bool        // something is being prepared, and made will tell
	made     chan making // has room for one
	workers  sync.WaitGroup
	payload  []byte // reused: a batch
	sealed   []byte // reused: batches in sectors
	failed   error  // wraps ErrFailed and the cause
	closed   bool
	closeErr error

	meter meter
}

// making is what became of preparing a segment.
type making struct {
	seg *segment
	err error
}

const (
	// maxSpares bounds the segments that are kept to be used again.
	maxSpares = 4
	// maxKept bounds the buffers that are kept from one batch to the next.
	maxKept = 4 << 20
)

// Append writes a batch: a new state unless st is nil, and entries, in order and
// without a gap. They follow the last one, or take the place of those from the
// first one's index on. With sync, it is durable with all before it when Append
// returns nil. Without, it survives the death of the process, and the loss of power
// perhaps; whole or not at all in both cases.
//
// After an error that wraps [ErrFailed] the batch may be in the log or not. After
// any other nothing of it is. The log keeps no reference to entries or their data.
func (l *Log) Append(st *State, entries []Entry, sync bool) error {
	sync = sync && !planted.Bug(planted.SkipSync)
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if err := l.admits(entries); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if st != nil || len(entries) > 0 {
		size := headLength + 64
		for i := range entries {
			size += entryOverhead + len(entries[i].Data)
			if size > maxBatch {
				return fmt.Errorf("wal: %w: more than %d bytes", ErrTooLarge, maxBatch)
			}
		}
		l.payload = appendHead(slices.Grow(l.payload[:0], size), kindAppend)
		l.payload = appendEntries(l.payload, st, entries)
		if err := l.write(reserve, sync); err != nil {
			return err
		}
		l.add(st, entries)
	}
	if sync {
		return l.sync()
	}
	return nil
}

// Compact notes, durably, that nothing up to the entry of that index and term is
// needed any more: a snapshot has it. Segments without a needed entry become spare
// ones or are removed. An index that was compacted before changes nothing; one
// beyond the last entry is an error.
func (l *Log) Compact(index, term uint64) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	switch {
	case index <= l.base.index:
		return nil
	case index > l.last:
		return fmt.Errorf("wal: entries up to %d are to be dropped, but the last one is %d", index, l.last)
	}
	base := position{index, term}
	l.payload = appendPosition(appendHead(l.payload[:0], kindCompact), base)
	if err := l.write(0, true); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.compact(base)
	return l.release()
}

// Reset begins the log anew, durably: without entries, after the one of that index
// and term, which a snapshot holds, and with that state.
func (l *Log) Reset(index, term uint64, st State) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	base := position{index, term}
	l.payload = l.payload[:0]
	if err := l.rotate(kindReset, base.index, base, st); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.reset(base, st)
	return l.release()
}

// Stats describes the log. It does not wait for the disk.
func (l *Log) Stats() Stats { return l.meter.stats() }

// Close syncs what was not, waits for what is being prepared, and ends the log. A
// second Close returns what the first one did.
func (l *Log) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.closed {
		return l.closeErr
	}
	l.closed = true
	l.workers.Wait()
	l.writer.Close()
	l.closeErr = l.failed
	if l.file != nil {
		if l.failed == nil {
			l.closeErr = l.sync()
		}
		l.closeErr = errors.Join(l.closeErr, l.file.Close())
	}
	return l.closeErr
}

// enter takes the turn, unless the log takes nothing more.
func (l *Log) enter() error {
	l.turn <- struct{}{}
	err := l.failed
	if l.closed {
		err = fmt.Errorf("wal: %w", ErrClosed)
	}
	if err != nil {
		<-l.turn
	}
	return err
}

// leave gives the turn back.
func (l *Log) leave() {
	if cap(l.payload) > maxKept || cap(l.sealed) > maxKept {
		l.payload, l.sealed = nil, nil
	}
	l.observe()
	<-l.turn
}

// fail ends all use of the log: what it holds on disk is unknown (SAFETY.md, S4).
func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("wal: %w: %w", ErrFailed, err)
	l.opts.Log.Error("the log on disk failed: nothing more is written to it", "dir", l.shop.dir, "error", err)
	return l.failed
}

// reserve is how many sectors at a segment's end are left to Compact: it must be
// able to make room also when the disk has none for another segment.
const reserve = 8

// write puts the batch in l.payload at the end of the log. It leaves that many
// sectors of the segment free, or goes on to the next one, which it does not sync.
func (l *Log) write(free int, sync bool) error {
	if l.file == nil || l.at+sectorsFor(len(l.payload))+free > l.current().sectors {
		return l.rotate(kindBegin, l.last, l.base, l.state)
	}
	l.seal(l.payload)
	return l.put(sync)
}

// current returns the segment that is written to.
func (l *Log) current() *segment { return l.segments[len(l.segments)-1] }

// seal adds a batch to those in l.sealed, which put will write at l.at.
func (l *Log) seal(payload []byte) {
	completeHead(payload, l.chain, l.synced)
	number := l.at + len(l.sealed)/sectorSize
	l.sealed, l.chain = seal(l.sealed, payload, number, l.current().generation, l.chain)
}

// put writes what is in l.sealed, and with sync makes durable all that was written.
func (l *Log) put(sync bool) error {
	start := time.Now()
	if err := l.writer.Write(l.file, l.sealed, int64(l.at)*sectorSize, sync); err != nil {
		return l.fail(err)
	}
	l.at += len(l.sealed) / sectorSize
	if sync {
		l.meter.took(time.Since(start))
		l.synced = l.at
	}
	l.sealed = l.sealed[:0]
	l.prepareAhead()
	return nil
}

// sync makes all that was written durable.
func (l *Log) sync() error {
	if l.file == nil || l.synced == l.at {
		return nil
	}
	start := time.Now()
	if err := l.file.Sync(); err != nil {
		return l.fail(err)
	}
	l.meter.took(time.Since(start))
	l.synced = l.at
	return nil
}
