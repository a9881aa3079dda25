package state

import (
	"iter"
	"strings"

	"github.com/kith-go/kith/internal/state/statepb"
)

// Item is one key. It is never changed, only replaced: reading it needs no lock.
type Item struct {
	Key      string
	Value    []byte // read-only
	Revision uint64 // of its last change
	Created  uint64 // the revision at which it came to be
	Expires  uint64 // agreed time, 0: never
	Session  uint64 // whose end deletes it, 0: none
}

func (i *Item) charge() int64 {
	return int64(len(i.Key)+len(i.Value)) + itemCharge
}

// Get returns the key's item, false if there is none. It does not allocate: the value is
// not copied.
func (m *Machine) Get(key string) (Item, bool) {
	if item, ok := m.items.Get(key); ok {
		return *item, true
	}
	return Item{}, false
}

// Len returns the number of keys.
func (m *Machine) Len() int { return m.items.Len() }

// Range goes in order over the keys that begin with prefix and are greater than
// after. To page, give the last key seen.
func (m *Machine) Range(prefix, after string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		m.items.Ascend(max(prefix, after), func(key string, item *Item) bool {
			if key == after && after != "" {
				return true
			}
			return strings.HasPrefix(key, prefix) && yield(*item)
		})
	}
}

// NextExpiry returns the agreed time at which the next key is due, false if none is.
func (m *Machine) NextExpiry() (agreed uint64, ok bool) {
	if item, ok := m.due.Min(); ok {
		return item.Expires, true
	}
	return 0, false
}

// replace puts now in the place of old, where nil stands for absence, and keeps all
// indexes.
func (m *Machine) replace(old, now *Item) {
	if old != nil {
		m.size -= old.charge()
		if old.Expires != 0 {
			m.due.Delete(old)
		}
		if old.Session != 0 {
			if s, ok := m.sessions.Get(old.Session); ok {
				delete(s.keys, old.Key)
			}
		}
	}
	if now == nil {
		m.items.Delete(old.Key)
		return
	}
	m.items.Set(now.Key, now)
	m.size += now.charge()
	if now.Expires != 0 {
		m.due.Set(now)
	}
	if now.Session != 0 {
		if s, ok := m.sessions.Get(now.Session); ok {
			s.own(now.Key)
		}
	}
}

// expire deletes keys whose time is up, all in one revision; when there are many, the
// next entry goes on. A key that was overwritten is not in due any more, so that an
// expiry never meets a later version (S17).
func (m *Machine) expire() {
	first, ok := m.due.Min()
	if !ok || first.Expires > m.time {
		return
	}
	revision := m.advance()
	for range sweep {
		item, ok := m.due.Min()
		if !ok || item.Expires > m.time {
			break
		}
		m.replace(item, nil)
		m.note(deleted(statepb.Change_EXPIRE, revision, item))
	}
	m.history.trim(m.limits)
}
