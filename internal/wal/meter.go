package wal

import (
	"slices"
	"sync"
	"time"
)

// Stats describes a log at one moment.
type Stats struct {
	First, Last uint64        // indexes of the entries held; First is Last+1 when there are none
	Segments    int           // files that hold parts of the log
	DiskBytes   int64         // of those, prepared ones and spare ones
	EntryBytes  int64         // of entries' data in the segments, overwritten ones included
	Syncs       uint64        // since Open
	SyncP50     time.Duration // of the last 1024 syncs or fewer; 0 before the first
	SyncP99     time.Duration
}

// meter keeps what Stats tells, so that Stats waits for nobody's turn.
type meter struct {
	mu     sync.Mutex // guards all below
	known  Stats      // without what is computed from syncs
	recent [1024]time.Duration
	syncs  uint64
}

// took notes how long a sync took.
func (m *meter) took(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recent[m.syncs%uint64(len(m.recent))] = d
	m.syncs++
}

func (m *meter) set(s Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = s
}

func (m *meter) stats() Stats {
	m.mu.Lock()
	s, recent := m.known, m.recent
	s.Syncs = m.syncs
	m.mu.Unlock()
	if n := min(s.Syncs, uint64(len(recent))); n > 0 {
		slices.Sort(recent[:n])
		s.SyncP50, s.SyncP99 = recent[n/2], recent[n*99/100]
	}
	return s
}

// observe tells the meter what the log holds; the call whose turn it is does so.
func (l *Log) observe() {
	s := Stats{First: l.base.index + 1, Last: l.last, Segments: len(l.segments)}
	for _, seg := range l.segments {
		s.DiskBytes += seg.bytes()
		s.EntryBytes += seg.dataBytes
	}
	for _, seg := range l.ready {
		s.DiskBytes += seg.bytes()
	}
	for _, seg := range l.spares {
		s.DiskBytes += seg.bytes()
	}
	l.meter.set(s)
}
