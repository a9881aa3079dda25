package transport

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestCallsGetTheirOwnAnswers: callers that outnumber the first slots by far wait for
// answers that come out of order, twice, or never, and are taken back.
func TestCallsGetTheirOwnAnswers(t *testing.T) {
	var c calls
	var ids atomic.Uint64
	asked := make(chan uint64, 100)
	var callers, server sync.WaitGroup
	server.Go(func() {
		for id := range asked {
			c.deliver(id, answer{body: []byte{byte(id)}})
			c.deliver(id, answer{body: []byte("twice")}) // nobody's
			c.deliver(id|answered, answer{})
			c.deliver(0, answer{})
		}
	})
	for i := range 10 * firstSlots {
		callers.Go(func() {
			ch := make(chan answer, 1)
			for range 200 {
				c.waiting.Add(1)
				slot, id, err := c.add(&ids, ch)
				if err != nil {
					t.Error(err)
					return
				}
				if i%10 == 0 && slot.remove(id) { // before it is asked
					c.waiting.Add(-1)
					continue
				}
				asked <- id
				if i%10 == 1 && slot.remove(id) { // before it is answered, perhaps
					c.waiting.Add(-1)
					continue
				}
				if a := slot.receive(ch); len(a.body) != 1 || a.body[0] != byte(id) {
					t.Errorf("request %d was answered with %q", id, a.body)
				}
				c.waiting.Add(-1)
			}
		})
	}
	callers.Wait()
	close(asked)
	server.Wait()
	for table := c.newest.Load(); table != nil; table = table.older {
		for i := range table.slots {
			if state := table.slots[i].state.Load(); state != 0 {
				t.Errorf("a slot of %d is left in state %#x", len(table.slots), state)
			}
		}
	}
}

// TestCallsEnd: whoever waits when the line ends, or comes afterwards, is told.
func TestCallsEnd(t *testing.T) {
	for range 50 {
		var c calls
		var ids atomic.Uint64
		gone := errors.New("gone")
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				ch := make(chan answer, 1)
				for range 2 { // the second comes afterwards for certain
					c.waiting.Add(1)
					slot, _, err := c.add(&ids, ch)
					if err == nil {
						err = slot.receive(ch).err // for ever, if it is forgotten
					}
					c.waiting.Add(-1)
					if err != gone {
						t.Error(err)
					}
					if len(ch) > 0 {
						t.Error("told twice")
					}
				}
			})
		}
		c.end(gone)
		callers.Wait()
	}
}

// TestUnderwayIsAMap: whatever ids a caller chooses.
func TestUnderwayIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u underway
		model := map[uint64]*call{}
		stride := rapid.SampledFrom([]uint64{1, 3, leastSlots, mostSlots, mostSlots << 8}).Draw(t, "stride")
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id := 1 + stride*rapid.Uint64Range(0, 200).Draw(t, "number")
				if u.find(id) == nil {
					model[id] = &call{id: id}
					u.add(model[id])
				}
			},
			"remove": func(t *rapid.T) {
				ids := slices.Sorted(maps.Keys(model))
				if len(ids) == 0 {
					t.Skip("none")
				}
				id := rapid.SampledFrom(ids).Draw(t, "id")
				u.remove(model[id])
				u.remove(model[id])         // once more
				u.remove(&call{id: id + 1}) // another one, of which nothing is known
				delete(model, id)
			},
			"": func(t *rapid.T) {
				for id, c := range model {
					if u.find(id) != c {
						t.Fatalf("%d is not found", id)
					}
				}
				if all := u.all(); u.n != len(model) || len(all) != len(model) || u.n == 0 && u.find(1) != nil {
					t.Fatalf("%d of %d, counted %d", len(all), len(model), u.n)
				}
				if len(u.slots) > mostSlots {
					t.Fatalf("%d slots", len(u.slots))
				}
			},
		})
	})
}
