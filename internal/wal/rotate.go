package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kith-go/kith/internal/disk"
)

// rotate goes on to the next segment, which begins with a batch of kind k that
// says what holds there, and writes the batch in l.payload after it, if there is
// one.
//
// The segment left behind is synced first: so only the last one can have a torn
// end, and what is missing elsewhere is damage.
func (l *Log) rotate(k kind, last uint64, base position, st State) error {
	begin := appendBegin(appendHead(nil, k), uint32(l.at), last, base, st)
	next, file, err := l.next(1 + sectorsFor(len(begin)) + sectorsFor(len(l.payload)) + reserve)
	if err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return errors.Join(err, file.Close())
	}
	if l.file != nil {
		l.file.Close() // synced already: nothing is lost when this fails
	}
	l.ready = slices.Delete(l.ready, 0, 1)
	l.segments = append(l.segments, next)
	l.file, l.at, l.synced = file, 1, 1
	l.sealed = l.sealed[:0]
	l.seal(begin)
	if len(l.payload) > 0 {
		l.seal(l.payload)
	}
	return l.put(false)
}

// next returns the segment to go on to, with that many sectors at least, and its
// open file. It stays first in l.ready. Any error leaves the log's contents alone.
func (l *Log) next(sectors int) (*segment, disk.File, error) {
	if len(l.ready) == 0 && l.awaiting {
		l.receive()
	}
	if len(l.ready) == 0 {
		seg, err := l.shop.make(l.following(), l.takeSpare(), l.opts.sectors())
		if err != nil {
			return nil, nil, l.refuse(err)
		}
		l.ready = append(l.ready, seg)
	}
	seg := l.ready[0]
	file, err := l.shop.fs.Open(seg.path)
	if err != nil {
		return nil, nil, l.refuse(err)
	}
	if seg.sectors < sectors {
		if err := l.shop.grow(seg, file, sectors); err != nil {
			return nil, nil, l.refuse(errors.Join(err, file.Close()))
		}
	}
	return seg, file, nil
}

// refuse turns the reason why there is no further segment into the error of the
// call that needs one. A full disk passes; anything else is not trusted to.
func (l *Log) refuse(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("wal: %w: %w", ErrNoSpace, err)
	}
	return l.fail(err)
}

// following returns the generation of the next segment to be prepared. They are
// never used twice, since they tell what is stale.
func (l *Log) following() uint32 {
	newest := uint32(0)
	if n := len(l.ready); n > 0 {
		newest = l.ready[n-1].generation
	} else if len(l.segments) > 0 {
		newest = l.current().generation
	}
	return newest + 1
}

func (l *Log) takeSpare() *segment {
	if len(l.spares) == 0 {
		return nil
	}
	spare := l.spares[len(l.spares)-1]
	l.spares = l.spares[:len(l.spares)-1]
	return spare
}

// prepareAhead starts to prepare the next segment when half of this one is used.
func (l *Log) prepareAhead() {
	if l.opts.Foreground || l.awaiting || len(l.ready) > 0 || 2*l.at < l.current().sectors {
		return
	}
	l.awaiting = true
	generation, spare := l.following(), l.takeSpare()
	l.workers.Go(func() {
		seg, err := l.shop.make(generation, spare, l.opts.sectors())
		l.made <- making{seg, err}
	})
}

// receive waits for what is being prepared.
func (l *Log) receive() {
	m := <-l.made
	l.awaiting = false
	if m.err != nil { // next tries again, and its error counts
		l.opts.Log.Warn("could not prepare a segment of the log", "dir", l.shop.dir, "error", m.err)
		return
	}
	l.ready = append(l.ready, m.seg)
}

// release makes spare or removes the segments that are not needed; long ones are
// removed. A file that resists is left for the next time.
func (l *Log) release() error {
	var released int
	var spares []*segment
	for _, seg := range l.unneeded() {
		var err error
		spare := l.shop.path(seg.generation, spareSuffix)
		if len(l.spares)+len(spares) < maxSpares && seg.sectors <= l.opts.sectors() {
			if err = l.shop.fs.Rename(seg.path, spare); err == nil {
				spares = append(spares, &segment{generation: seg.generation, path: spare, sectors: seg.sectors})
			}
		} else {
			err = l.shop.fs.Remove(seg.path)
		}
		if err != nil {
			l.opts.Log.Warn("could not give up a segment of the log", "file", seg.path, "error", err)
			break
		}
		released++
	}
	if released == 0 {
		return nil
	}
	l.segments = slices.Delete(l.segments, 0, released)
	// Spare ones are overwritten. None may come back under its old name after that.
	if err := l.shop.fs.SyncDir(l.shop.dir); err != nil {
		return l.fail(err)
	}
	l.spares = append(l.spares, spares...)
	return nil
}
