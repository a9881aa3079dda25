package check

import "testing"

func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ok    bool
		write func(h *History)
	}{
		{"one after the other", true, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			a.Wrote(6)
			a.Over()
			b.Granted(7)
			b.Wrote(9)
		}},
		{"two at once", false, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			b.Granted(6)
			a.Over()
		}},
		{"two at once, of two", true, func(h *History) {
			a, b := h.Ask(1, "l", 2), h.Ask(2, "l", 2)
			a.Granted(5)
			b.Granted(6)
		}},
		{"three at once, of two", false, func(h *History) {
			for i := range 3 {
				h.Ask(i, "l", 2).Granted(uint64(i + 1))
			}
		}},
		{"two at once, in two locks", true, func(h *History) {
			h.Ask(1, "l", 1).Granted(5)
			h.Ask(2, "m", 1).Granted(6)
		}},
		{"overtaken in the line", false, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			b.Granted(6)
			b.Over()
			a.Granted(5)
		}},
		{"gave up in the line", true, func(h *History) {
			h.Ask(1, "l", 1).Over()
			h.Ask(2, "l", 1).Granted(6)
		}},
		{"the same token", false, func(h *History) {
			for range 2 {
				a := h.Ask(1, "l", 1)
				a.Granted(5)
				a.Over()
			}
		}},
		{"a smaller token later", false, func(h *History) {
			a := h.Ask(1, "l", 2)
			a.Granted(5)
			a.Over()
			h.Ask(1, "l", 2).Granted(4)
		}},
		{"a write before the token", false, func(h *History) {
			a := h.Ask(1, "l", 1)
			a.Granted(5)
			a.Wrote(4)
		}},
		{"a write after the next holder's", false, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			a.Wrote(6)
			a.Over()
			b.Granted(7)
			b.Wrote(8)
			a.Wrote(9)
		}},
		{"a late write before the next holder's", true, func(h *History) {
			a, b := h.Ask(1, "l", 1), h.Ask(2, "l", 1)
			a.Granted(5)
			a.Over()
			b.Granted(7)
			b.Wrote(9)
			a.Wrote(8)
		}},
		{"writes of two holders together", true, func(h *History) {
			a, b := h.Ask(1, "l", 2), h.Ask(2, "l", 2)
			a.Granted(5)
			b.Granted(6)
			b.Wrote(8)
			a.Wrote(9)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHistory()
			tt.write(h)
			if err := Judge(h.Record()); (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
		})
	}
}
