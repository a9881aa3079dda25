package check

import (
	"fmt"
	"slices"
	"testing"
)

// guarded begins a write that depends on the hold.
func guarded(h *History, l *Hold, value string) *Call {
	c := h.Call(l.tenure.Client, set("guarded", value))
	l.Guarded(c)
	return c
}

// wrote records one that nothing overlaps.
func wrote(h *History, l *Hold, revision uint64) {
	guarded(h, l, fmt.Sprint(revision)).Return(at(revision))
}

func look(h *History, revision uint64, places ...Standing) {
	h.Look("somebody", "l").Saw(revision, places)
}

func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		breaks []string
		write  func(h *History)
	}{
		{"one after the other", nil, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			wrote(h, a, 6)
			a.Over()
			b.Granted(7)
			wrote(h, b, 9)
		}},
		{"two at once", []string{"holds", "lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			b.Granted(6)
			a.Over()
		}},
		{"two at once, of two", nil, func(h *History) {
			a, b := h.Ask(1, "l", 2), h.Ask(2, "l", 2)
			a.Granted(5)
			b.Granted(6)
		}},
		{"three at once, of two", []string{"holds", "lines"}, func(h *History) {
			for i := range 3 {
				h.Ask(i, "l", 2).Granted(uint64(i + 1))
			}
		}},
		{"two at once, in two locks", nil, func(h *History) {
			h.Ask(1, "l", 1).Granted(5)
			h.Ask(2, "m", 1).Granted(6)
		}},
		{"overtaken in the line", []string{"holds", "lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			b.Granted(6)
			b.Over()
			a.Granted(5)
		}},
		{"gave up in the line", nil, func(h *History) {
			h.Ask(1, "l", 1).Quit()
			h.Ask(2, "l", 1).Granted(6)
		}},
		{"the same token", []string{"holds"}, func(h *History) {
			for range 2 {
				a := h.Ask(1, "l", 1)
				a.Granted(5)
				a.Over()
			}
		}},
		{"a smaller token later", []string{"holds", "lines"}, func(h *History) {
			a := h.Ask(1, "l", 2)
			a.Granted(5)
			a.Over()
			h.Ask(1, "l", 2).Granted(4)
		}},
		{"a write before the token", []string{"holds"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			wrote(h, a, 4)
		}},
		{"a write after the next holder's", []string{"holds", "lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			wrote(h, a, 6)
			a.Over()
			b.Granted(7)
			wrote(h, b, 8)
			wrote(h, a, 9)
		}},
		{"one of which only a reader knows", []string{"holds"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			guarded(h, a, "lost")
			a.Over()
			b.Granted(7)
			wrote(h, b, 8)
			h.Call(3, get("guarded")).Return(found("lost", 9))
		}},
		{"one of which nobody knows", nil, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			guarded(h, a, "lost")
			a.Over()
			b.Granted(7)
			wrote(h, b, 8)
		}},
		{"a late write before the next holder's", nil, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			late := guarded(h, a, "late")
			a.Over()
			b.Granted(7)
			wrote(h, b, 9)
			late.Return(at(6))
		}},
		{"writes of two holders together", nil, func(h *History) {
			a, b := h.Ask(1, "l", 2), h.Ask(2, "l", 2)
			a.Granted(5)
			b.Granted(6)
			wrote(h, b, 8)
			wrote(h, a, 9)
		}},
		{"a write after the place was seen gone", []string{"holds", "lines"}, func(h *History) {
			a := h.Ask(1, "l", 2)
			a.Granted(5)
			a.Over()
			look(h, 7)
			wrote(h, a, 8)
		}},
		{"refused while it was held", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			guarded(h, a, "x").Return(Result{NotHeld: true})
			wrote(h, a, 6)
		}},
		{"refused after it was over", nil, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			a.Over()
			guarded(h, a, "x").Return(Result{NotHeld: true})
		}},
		{"taken away", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			look(h, 7)
		}},
		{"its process died", nil, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			h.Died(func(client int) bool { return client == 1 })
			look(h, 7)
		}},
		{"another's process died", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			h.Died(func(client int) bool { return client == 2 })
			look(h, 7)
		}},
		{"a holder was removed by a break", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			h.Breaking("l", 5)
			look(h, 7)
		}},
		{"a waiter was removed by a break", nil, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			look(h, 6, Standing{5, a.Label()}, Standing{6, b.Label()})
			h.Breaking("l", 6)
			look(h, 7, Standing{5, a.Label()})
		}},
		{"a waiter was forgotten", []string{"lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			look(h, 6, Standing{5, a.Label()}, Standing{6, b.Label()})
			look(h, 7, Standing{5, a.Label()})
		}},
		{"came back", []string{"holds", "lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			a.Over()
			b.Quit()
			look(h, 6, Standing{6, b.Label()})
			look(h, 7)
			look(h, 8, Standing{6, b.Label()})
		}},
		{"seen out of order", []string{"holds", "lines"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			look(h, 6, Standing{6, b.Label()}, Standing{5, a.Label()})
		}},
		{"seen in two ways", []string{"holds", "lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			look(h, 6, Standing{5, a.Label()})
			look(h, 6)
		}},
		{"a watcher is late", nil, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			a.Over()
			b.Granted(6)
			h.Noticed("w", "l", 5, []Standing{{5, a.Label()}})
		}},
		{"a watcher saw what never was", []string{"holds"}, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			h.Noticed("w", "l", 5, nil)
			h.Noticed("w", "l", 7, []Standing{{5, a.Label()}, {6, b.Label()}})
		}},
		{"nobody asked for it", []string{"holds", "lines"}, func(h *History) { look(h, 6, Standing{5, "t1"}) }},
		{"refused because of one who was not there any more", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			a.Over()
			a.Gone()
			h.Ask(2, "l", 1).Refused(5)
		}},
		{"refused because of one who was there", nil, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			h.Ask(2, "l", 1).Refused(5)
		}},
		{"released, and there still", []string{"lines"}, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			a.Over()
			a.Gone()
			look(h, 7, Standing{5, a.Label()})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHistory()
			tt.write(h)
			err := Judge(h.Record())
			var rules []string
			for _, v := range violations(err) {
				rules = append(rules, v.Rule)
			}
			slices.Sort(rules)
			if rules = slices.Compact(rules); !slices.Equal(rules, tt.breaks) {
				t.Errorf("broken: %v, want %v: %v", rules, tt.breaks, err)
			}
		})
	}
}
