package kv_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/kv"
)

// model is what the keys should be, naively: a map for every revision there was.
type model struct {
	cluster *replicatest.Cluster
	writer  *kv.Store
	node    *node // the writer's
	states  []map[string]value
	expired map[uint64]bool // revisions that swept keys away
	now     time.Duration
}

type value struct {
	text      string
	revision  uint64
	expires   time.Duration // 0: never
	ephemeral bool
}

func newModel(c *replicatest.Cluster) *model {
	n := c.Join()
	return &model{cluster: c, writer: kv.New(n), node: n, states: []map[string]value{{}}, expired: make(map[uint64]bool)}
}

func (m *model) revision() uint64             { return uint64(len(m.states) - 1) }
func (m *model) current() map[string]value    { return m.states[len(m.states)-1] }
func (m *model) at(r uint64) map[string]value { return m.states[r] }

// record notes the state as it is after the cluster has done something.
func (m *model) record(next map[string]value) error {
	reached := m.cluster.Revision()
	if next == nil || maps.Equal(next, m.current()) && reached == m.revision() {
		next = m.current()
	}
	for m.revision()+1 < reached {
		m.states = append(m.states, m.current()) // a session, which is no key
	}
	if m.revision() < reached {
		m.states = append(m.states, next)
	} else if !maps.Equal(next, m.current()) {
		return fmt.Errorf("the cluster is at revision %d and did nothing", reached)
	}
	return nil
}

// told returns what a watch of the names that match should tell of the revisions after
// `after` up to `to`.
func (m *model) told(match func(string) bool, after, to uint64) (told []string) {
	for r := after + 1; r <= to; r++ {
		before, now := m.at(r-1), m.at(r)
		keys := maps.Clone(before)
		maps.Copy(keys, now)
		first := len(told)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			was, is := before[key], now[key]
			switch {
			case !match(key) || was == is:
			case is.revision != 0:
				told = append(told, fmt.Sprintf("%d written %s=%s previous=%d", r, key, is.text, was.revision))
			case m.expired[r]:
				told = append(told, fmt.Sprintf("%d expired %s previous=%d", r, key, was.revision))
			default:
				told = append(told, fmt.Sprintf("%d deleted %s previous=%d", r, key, was.revision))
			}
		}
		if len(told) > first {
			told[len(told)-1] += " last"
		}
	}
	return told
}

// step is something that happens to the cluster.
type step struct {
	do    string
	keys  []string
	ttl   time.Duration
	count int
}

func (s step) String() string { return fmt.Sprintf("%s %v %v %d", s.do, s.keys, s.ttl, s.count) }

var modelKeys = []string{"a", "a/1", "a/2", "a/3", "b/1", "b/2", "c"}

func drawStep(t *rapid.T, kinds []string) step {
	key := rapid.SampledFrom(modelKeys)
	return step{
		do:    rapid.SampledFrom(kinds).Draw(t, "do"),
		keys:  rapid.SliceOfN(key, 1, 4).Draw(t, "keys"),
		ttl:   time.Duration(rapid.IntRange(1, 5).Draw(t, "ttl")) * time.Second,
		count: rapid.IntRange(1, 5).Draw(t, "count"),
	}
}

var writing = []string{"set", "set", "set", "delete", "delete prefix", "txn", "ttl", "ephemeral", "advance", "end"}

// write does a step that writes; others it leaves alone.
func (m *model) write(ctx context.Context, s step) error {
	next := maps.Clone(m.current())
	key, text := s.keys[0], fmt.Sprintf("v%d", m.revision()+1)
	put := func(key string, v value) { // its revision is known afterwards
		v.text, v.revision = text, m.cluster.Revision()
		next[key] = v
	}
	var err error
	switch s.do {
	case "set":
		_, err = m.writer.Set(ctx, key, []byte(text))
		put(key, value{})
	case "ttl":
		_, err = m.writer.Set(ctx, key, []byte(text), kv.TTL(s.ttl))
		put(key, value{expires: m.now + s.ttl})
	case "ephemeral":
		_, err = m.writer.Set(ctx, key, []byte(text), kv.Ephemeral())
		put(key, value{ephemeral: true})
	case "delete":
		_, err = m.writer.Delete(ctx, key)
		delete(next, key)
	case "delete prefix":
		_, _, err = m.writer.DeletePrefix(ctx, key)
		maps.DeleteFunc(next, func(k string, _ value) bool { return strings.HasPrefix(k, key) })
	case "txn":
		err = m.txn(ctx, s.keys, text, put, next)
	case "advance":
		m.now += s.ttl
		m.cluster.Advance(s.ttl)
		maps.DeleteFunc(next, func(_ string, v value) bool { return v.expires != 0 && v.expires <= m.now })
		if len(next) < len(m.current()) {
			m.expired[m.cluster.Revision()] = true
		}
	case "end":
		if m.node.SessionID() == 0 {
			return nil
		}
		m.cluster.End(m.node.SessionID())
		maps.DeleteFunc(next, func(_ string, v value) bool { return v.ephemeral })
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("%v: %w", s, err)
	}
	return m.record(next)
}

// txn writes all keys but the last, which it deletes, in one change.
func (m *model) txn(ctx context.Context, keys []string, text string, put func(string, value), next map[string]value) error {
	t, last := kv.Txn(), len(keys)-1
	for _, key := range keys[:last] {
		t.Then(kv.Put(key, []byte(text)))
	}
	_, err := m.writer.Commit(ctx, t.Then(kv.Delete(keys[last])))
	for _, key := range keys[:last] {
		put(key, value{})
	}
	delete(next, keys[last])
	return err
}
