package state

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"slices"

	"github.com/tidwall/btree"

	"github.com/kith-go/kith/internal/state/statepb"
)

// format is the version of the snapshot stream.
const format = 1

// Snapshot is a machine's state at one index. It shares memory with the machine, which
// may go on meanwhile; it may be read in any goroutine.
type Snapshot struct {
	header    statepb.Header
	cluster   *statepb.Cluster
	sessions  *btree.Map[uint64, *session]
	items     *btree.Map[string, *Item]
	queues    [kinds]*btree.Map[string, *queue]
	events    *btree.Map[string, uint64]
	proposers []proposer // by ID, with rings of their own
	history   history
}

// Snapshot returns the state as it is now. It takes microseconds: the larger parts are
// shared. It is no reading method: nothing else may use the machine meanwhile.
func (m *Machine) Snapshot() *Snapshot {
	m.epoch++ // what queues hold now is the snapshot's
	s := &Snapshot{
		cluster:  m.cluster,
		sessions: m.sessions.Copy(),
		items:    m.items.Copy(),
		events:   m.events.Copy(),
		history:  m.history.share(),
	}
	s.header.Format = format
	s.header.Index, s.header.Term = m.index, m.term
	s.header.Revision, s.header.Time, s.header.Floor = m.revision, m.time, m.history.floor
	for kind := range m.queues {
		s.queues[kind] = m.queues[kind].Copy()
	}
	for _, p := range m.proposers {
		shared := *p
		shared.ring = slices.Clone(p.ring)
		s.proposers = append(s.proposers, shared)
	}
	slices.SortFunc(s.proposers, func(a, b proposer) int { return cmp.Compare(a.id, b.id) })
	return s
}

// Index returns the index of the last entry that the snapshot covers.
func (s *Snapshot) Index() uint64 { return s.header.Index }

// Term returns the term of that entry.
func (s *Snapshot) Term() uint64 { return s.header.Term }

// WriteTo writes the snapshot as a stream that Restore reads. The same state gives the same
// bytes. It returns how many, and the first error of w.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	p := &partWriter{w: bufio.NewWriterSize(w, 64<<10)}
	p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Header{Header: &s.header}})
	p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Cluster{Cluster: s.cluster}})
	s.writeSessions(p)
	s.writeItems(p)
	s.writeQueues(p)
	s.writeEvents(p)
	s.writeProposers(p)
	s.writeHistory(p)
	p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Trailer{Trailer: &statepb.Trailer{Parts: p.parts}}})
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return p.n - int64(p.w.Buffered()), p.err
}

func (s *Snapshot) writeSessions(p *partWriter) {
	s.sessions.Scan(func(_ uint64, s *session) bool {
		return p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Session{Session: &statepb.Session{
			Id: s.ID, Member: s.Member, Client: s.Client, TtlMs: s.TTL,
		}}})
	})
}

func (s *Snapshot) writeItems(p *partWriter) {
	item := &statepb.Item{}
	part := &statepb.Snapshot{Part: &statepb.Snapshot_Item{Item: item}}
	s.items.Scan(func(_ string, i *Item) bool {
		item.Key, item.Value, item.Revision, item.Created = i.Key, i.Value, i.Revision, i.Created
		item.Expires, item.Session = i.Expires, i.Session
		return p.write(part)
	})
}

func (s *Snapshot) writeQueues(p *partWriter) {
	for _, queues := range s.queues {
		queues.Scan(func(_ string, q *queue) bool {
			p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Queue{Queue: &statepb.Queue{
				Name: &statepb.QueueName{Kind: q.Kind, Name: q.Name}, Limit: q.Limit, Revision: q.Revision,
			}}})
			for _, slot := range q.Slots {
				p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Slot{Slot: slot.encode()}})
			}
			return p.err == nil
		})
	}
}

func (s *Snapshot) writeEvents(p *partWriter) {
	s.events.Scan(func(name string, revision uint64) bool {
		return p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Event{Event: &statepb.Event{
			Name: name, Revision: revision,
		}}})
	})
}

func (s *Snapshot) writeProposers(p *partWriter) {
	for i := range s.proposers {
		from := &s.proposers[i]
		p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Proposer{Proposer: &statepb.Proposer{
			Id: from.id, Member: from.member, Incarnation: from.incarnation, Low: from.low,
		}}})
		for i := range uint64(len(from.ring)) {
			seq := from.low + i
			result := *from.slot(seq)
			if result == nil {
				continue
			}
			ok := p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Answer{Answer: &statepb.Answer{
				Seq: seq, Result: result,
			}}})
			if !ok {
				return
			}
		}
	}
}

func (s *Snapshot) writeHistory(p *partWriter) {
	for c := range s.history.since(s.history.floor) {
		change := &statepb.Change{
			Revision: c.Revision, Kind: c.Kind, Name: c.Name, Previous: c.Previous, Queue: c.Queue,
		}
		if c.Item != nil {
			change.Value, change.Created = c.Item.Value, c.Item.Created
			change.Expires, change.Session = c.Item.Expires, c.Item.Session
		}
		if !p.write(&statepb.Snapshot{Part: &statepb.Snapshot_Change{Change: change}}) {
			return
		}
	}
}

// partWriter writes parts, each after its length.
type partWriter struct {
	w     *bufio.Writer
	buf   []byte
	n     int64 // bytes given to w
	parts uint64
	err   error
}

// write reports whether all is well so far.
func (p *partWriter) write(part *statepb.Snapshot) bool {
	if p.err != nil {
		return false
	}
	size := part.SizeVT()
	p.buf = slices.Grow(p.buf[:0], binary.MaxVarintLen64+size)
	p.buf = binary.AppendUvarint(p.buf, uint64(size))
	prefix := len(p.buf)
	p.buf = p.buf[:prefix+size]
	if _, p.err = part.MarshalToSizedBufferVT(p.buf[prefix:]); p.err != nil {
		return false
	}
	var n int
	n, p.err = p.w.Write(p.buf)
	p.n += int64(n)
	p.parts++
	return p.err == nil
}
