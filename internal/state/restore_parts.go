package state

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/kith-go/kith/internal/state/statepb"
)

// What follows takes a part each. It believes nothing: what would break an invariant
// that the machine relies upon is refused.

func (s *restoration) header(h *statepb.Header) error {
	if h.Format != format {
		return fmt.Errorf("format %d: %w", h.Format, errUnknown)
	}
	if h.Floor > h.Revision {
		return fmt.Errorf("floor %d is above revision %d", h.Floor, h.Revision)
	}
	s.m.index, s.m.term, s.m.revision, s.m.time = h.Index, h.Term, h.Revision, h.Time
	s.m.history.floor, s.last = h.Floor, h.Floor
	return nil
}

func (s *restoration) cluster(c *statepb.Cluster) error {
	if c.Feature > Feature {
		return fmt.Errorf("feature level %d: %w", c.Feature, errUnknown)
	}
	return s.m.setCluster(c)
}

// happened checks a revision that something has.
func (s *restoration) happened(revision uint64) error {
	if revision == 0 || revision > s.m.revision {
		return fmt.Errorf("revision %d is not within 1 and %d", revision, s.m.revision)
	}
	return nil
}

func (s *restoration) session(p *statepb.Session) error {
	if last, _, ok := s.m.sessions.Max(); ok && p.Id <= last {
		return fmt.Errorf("session %d comes after %d", p.Id, last)
	}
	if p.Client != "" && nameError(p.Client) != nil {
		return fmt.Errorf("session %d: client: %w", p.Id, nameError(p.Client))
	}
	if other, taken := s.m.clients[p.Client]; taken {
		return fmt.Errorf("sessions %d and %d are of one client", other, p.Id)
	}
	s.m.addSession(Session{ID: p.Id, Member: p.Member, Client: p.Client, TTL: p.TtlMs})
	return s.happened(p.Id)
}

// open checks that a session that owns something is there.
func (s *restoration) open(id uint64) (*session, error) {
	if open, ok := s.m.sessions.Get(id); ok {
		return open, nil
	}
	return nil, fmt.Errorf("there is no session %d", id)
}

func (s *restoration) item(p *statepb.Item) error {
	if err := nameError(p.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if p.Key <= s.key {
		return fmt.Errorf("key %q comes after %q", p.Key, s.key)
	}
	if p.Created == 0 || p.Created > p.Revision {
		return fmt.Errorf("key %q of revision %d was created at %d", p.Key, p.Revision, p.Created)
	}
	if p.Session != 0 {
		if _, err := s.open(p.Session); err != nil {
			return fmt.Errorf("key %q: %w", p.Key, err)
		}
	}
	s.key = p.Key
	s.m.replace(nil, &Item{
		Key: p.Key, Value: p.Value, Revision: p.Revision, Created: p.Created,
		Expires: p.Expires, Session: p.Session,
	})
	return s.happened(p.Revision)
}

func (s *restoration) addQueue(p *statepb.Queue) error {
	kind, name := p.Name.GetKind(), p.Name.GetName()
	if err := checkKind(kind); err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	if err := nameError(name); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if err := s.closeQueue(); err != nil {
		return err
	}
	if q := s.queue; q != nil && cmp.Or(cmp.Compare(q.Kind, kind), cmp.Compare(q.Name, name)) >= 0 {
		return fmt.Errorf("%v %q comes after %v %q", kind, name, q.Kind, q.Name)
	}
	s.queue, s.tokens = s.m.addQueue(kind, name, p.Limit), map[uint64]bool{}
	s.queue.Revision = p.Revision
	return s.happened(p.Revision)
}

// closeQueue is called when no more slots can come for the queue.
func (s *restoration) closeQueue() error {
	if s.queue != nil && len(s.queue.Slots) == 0 {
		return fmt.Errorf("%v %q is empty", s.queue.Kind, s.queue.Name)
	}
	return nil
}

func (s *restoration) slot(p *statepb.Slot) error {
	q := s.queue
	if q == nil {
		return errors.New("a slot before the first queue")
	}
	of, err := s.open(p.Session)
	if err != nil {
		return fmt.Errorf("slot %d: %w", p.Token, err)
	}
	if err := nameError(p.Member); err != nil {
		return fmt.Errorf("slot %d: member: %w", p.Token, err)
	}
	if _, taken := of.places[place{q.Kind, q.Name, p.Member}]; taken || s.tokens[p.Token] {
		return fmt.Errorf("slot %d is in the queue twice", p.Token)
	}
	if p.Token == 0 || p.Token > p.Revision || p.Revision > q.Revision {
		return fmt.Errorf("slot %d has revision %d in a queue of revision %d", p.Token, p.Revision, q.Revision)
	}
	if i := q.entrance(p.Precedence); i < len(q.Slots) {
		return fmt.Errorf("slot %d stands behind slot %d", p.Token, q.Slots[i].Token)
	}
	s.tokens[p.Token] = true
	s.m.insert(q, len(q.Slots), &Slot{
		Token: p.Token, Session: p.Session, Member: p.Member, Data: p.Data,
		Revision: p.Revision, Since: p.Since, Precedence: p.Precedence, Revoked: p.Revoked,
	}, of)
	return nil
}

func (s *restoration) addEvent(p *statepb.Event) error {
	if err := nameError(p.Name); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if p.Name <= s.event {
		return fmt.Errorf("event %q comes after %q", p.Name, s.event)
	}
	if other, taken := s.m.firings.Get(p.Revision); taken {
		return fmt.Errorf("events %q and %q share revision %d", other, p.Name, p.Revision)
	}
	s.event = p.Name
	s.m.setEvent(p.Name, p.Revision)
	s.m.size += eventSize(p.Name)
	return s.happened(p.Revision)
}

func (s *restoration) proposer(p *statepb.Proposer) error {
	if s.from != nil && p.Id <= s.from.id || p.Id == 0 || p.Id > s.m.index {
		return fmt.Errorf("proposer %d is out of order", p.Id)
	}
	if s.m.member(p.Member) == nil || s.m.current[p.Member] != nil {
		return fmt.Errorf("proposer %d: %d is no member, or has another one", p.Id, p.Member)
	}
	s.from = &proposer{id: p.Id, member: p.Member, incarnation: p.Incarnation, low: p.Low}
	s.m.enlist(s.from)
	return nil
}

func (s *restoration) answer(p *statepb.Answer) error {
	switch {
	case s.from == nil || p.Result == nil:
		return errors.New("an answer without a proposer or a result")
	case p.Seq < s.from.low || p.Seq-s.from.low >= maxWindow || s.from.ring != nil && p.Seq <= s.seq:
		return fmt.Errorf("answer %d of proposer %d is out of order", p.Seq, s.from.id)
	}
	if _, known := statepb.Result_Code_name[int32(p.Result.Code)]; !known {
		return fmt.Errorf("result code %d: %w", p.Result.Code, errUnknown)
	}
	s.seq = p.Seq
	s.from.store(p.Seq, p.Result)
	return nil
}

func (s *restoration) change(p *statepb.Change) error {
	if err := nameError(p.Name); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	if p.Revision < s.last || p.Revision <= s.m.history.floor {
		return fmt.Errorf("change of revision %d comes after %d", p.Revision, s.last)
	}
	if _, known := statepb.Change_Kind_name[int32(p.Kind)]; !known || checkKind(p.Queue) != nil {
		return fmt.Errorf("change of kind %d, queue kind %d: %w", p.Kind, p.Queue, errUnknown)
	}
	c := Change{Revision: p.Revision, Kind: p.Kind, Queue: p.Queue, Name: p.Name, Previous: p.Previous}
	if p.Kind == statepb.Change_PUT {
		c.Item = &Item{
			Key: p.Name, Value: p.Value, Revision: p.Revision, Created: p.Created,
			Expires: p.Expires, Session: p.Session,
		}
	}
	s.last = p.Revision
	s.m.history.add(c)
	return s.happened(p.Revision)
}

func (s *restoration) trailer(t *statepb.Trailer) error {
	if t.Parts != s.parts.parts-1 {
		return fmt.Errorf("%d parts came, the trailer says %d", s.parts.parts-1, t.Parts)
	}
	return s.closeQueue()
}
