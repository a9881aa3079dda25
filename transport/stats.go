package transport

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Stats are counts since the messenger began.
type Stats struct {
	Peers    []PeerStats    // of all peers that ever were listed or asked for, by name
	Subjects []SubjectStats // of all that are handled now, by name
	// Refused counts packets that were malformed or made no sense.
	Refused uint64
	// Dropped counts one-way messages that no handler took, and answers for which
	// there was no room.
	Dropped uint64
}

// PeerStats is what went to and from one peer.
type PeerStats struct {
	PeerStatus
	// InFlight is how many requests wait for the peer's replies now.
	InFlight int
	// Requests had a reply, with this latency from call to reply; Failed ended in an
	// error.
	Requests, Failed uint64
	Latency          Latency
	// Packets and bytes, as the engine is given them.
	PacketsOut, BytesOut, PacketsIn, BytesIn uint64
}

// SubjectStats is what became of the calls of one handler.
type SubjectStats struct {
	Subject string `json:"subject"`
	// Stream tells that it serves streams.
	Stream bool `json:"stream,omitempty"`
	// Running is how many calls run now; Waiting how many wait for their turn.
	Running int `json:"running"`
	Waiting int `json:"waiting"`
	// Handled calls have run; Failed are those of them that returned an error or
	// panicked. Refused never ran: too many waited, or their time was over.
	Handled uint64 `json:"handled"`
	Failed  uint64 `json:"failed"`
	Refused uint64 `json:"refused"`
	// Latency is how long calls ran.
	Latency Latency `json:"latency"`
}

// Latency tells how long things took. P50 and P99 are exact to a quarter, Max is exact.
type Latency struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// Stats returns the counts so far. It looks at every handler.
func (m *Messenger) Stats() Stats {
	s := Stats{Refused: m.refused.Load(), Dropped: m.dropped.Load()}
	m.mu.Lock()
	_, peers := m.snapshotLocked()
	m.mu.Unlock()
	for _, p := range peers {
		s.Peers = append(s.Peers, p.stats())
	}
	slices.SortFunc(s.Peers, func(a, b PeerStats) int { return cmp.Compare(a.Name, b.Name) })
	for _, v := range m.services.all() {
		s.Subjects = append(s.Subjects, v.stats())
	}
	slices.SortFunc(s.Subjects, func(a, b SubjectStats) int { return cmp.Compare(a.Subject, b.Subject) })
	return s
}

func (p *Peer) stats() PeerStats {
	s := PeerStats{
		PeerStatus: p.Status(),
		Failed:     p.load.failed.Load(),
		PacketsOut: p.load.packetsOut.Load(), BytesOut: p.load.bytesOut.Load(),
		PacketsIn: p.load.packetsIn.Load(), BytesIn: p.load.bytesIn.Load(),
	}
	s.Requests, s.Latency = p.load.latency.read()
	if l := p.up.Load(); l != nil {
		s.InFlight = int(l.calls.waiting.Load())
	}
	return s
}

func (s *service) stats() SubjectStats {
	out := SubjectStats{
		Subject: s.subject, Stream: s.stream != nil,
		Running: int(s.load.running.Load()),
		Failed:  s.load.failed.Load(), Refused: s.load.refused.Load(),
	}
	out.Handled, out.Latency = s.load.latency.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Waiting = s.waiting.len()
	return out
}

// traffic counts what goes to and from a peer.
type traffic struct {
	packetsOut, bytesOut, packetsIn, bytesIn, failed atomic.Uint64
	latency                                          histogram
}

func (t *traffic) sent(bytes int) {
	t.packetsOut.Add(1)
	t.bytesOut.Add(uint64(bytes))
}

func (t *traffic) received(bytes int) {
	t.packetsIn.Add(1)
	t.bytesIn.Add(uint64(bytes))
}

// handled counts what becomes of a handler's calls.
type handled struct {
	running         atomic.Int64
	failed, refused atomic.Uint64
	latency         histogram
}

// histogram counts durations in four buckets per power of two, from a microsecond
// to half an hour. It takes its memory with the first: most subjects of many are idle.
type histogram struct {
	counts atomic.Pointer[[buckets]atomic.Uint64]
	most   atomic.Int64
}

const (
	shortest = 10 // bits of the first power of two: 1024 ns
	buckets  = 31 * 4
)

func bucket(d time.Duration) int {
	ns := uint64(max(d, 1<<shortest))
	power := bits.Len64(ns) - 1
	return min((power-shortest)*4+int(ns>>(power-2)&3), buckets-1)
}

// upper is the end of a bucket.
func upper(bucket int) time.Duration {
	power, quarter := bucket/4+shortest, bucket%4
	return time.Duration(5+quarter) << (power - 2)
}

func (h *histogram) add(d time.Duration) {
	b := h.counts.Load()
	if b == nil {
		h.counts.CompareAndSwap(nil, new([buckets]atomic.Uint64))
		b = h.counts.Load()
	}
	b[bucket(d)].Add(1)
	for most := h.most.Load(); int64(d) > most && !h.most.CompareAndSwap(most, int64(d)); {
		most = h.most.Load()
	}
}

func (h *histogram) read() (count uint64, l Latency) {
	b := h.counts.Load()
	if b == nil {
		return 0, l
	}
	var counts [buckets]uint64
	for i := range b {
		counts[i] = b[i].Load()
		count += counts[i]
	}
	l.Max = time.Duration(h.most.Load())
	seen := uint64(0)
	for i, n := range counts {
		seen += n
		at := min(upper(i), l.Max)
		if n > 0 && l.P50 == 0 && 2*seen >= count {
			l.P50 = at
		}
		if n > 0 && l.P99 == 0 && 100*seen >= 99*count {
			l.P99 = at
		}
	}
	return count, l
}
