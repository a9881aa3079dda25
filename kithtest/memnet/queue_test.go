package memnet

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring
		var want []byte
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				b := rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "b")
				r.write(b)
				want = append(want, b...)
			},
			"discard": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "n")
				r.discard(n)
				want = want[n:]
			},
			"truncate": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "n")
				r.truncate(n)
				want = want[:len(want)-n]
			},
			"": func(t *rapid.T) {
				got := make([]byte, r.n)
				r.peek(got)
				if !bytes.Equal(got, want) {
					t.Fatalf("%x, want %x", got, want)
				}
			},
		})
	})
}

func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue[int]
		var want []int
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				q.push(len(want))
				want = append(want, len(want))
			},
			"pop": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("empty")
				}
				if got := q.pop(); got != want[0] {
					t.Fatalf("pop = %d, want %d", got, want[0])
				}
				want = want[1:]
			},
			"truncate": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "n")
				q.truncate(n)
				want = want[:n]
			},
			"": func(t *rapid.T) {
				var got []int
				for i := range q.len() {
					got = append(got, *q.at(i))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%v, want %v", got, want)
				}
			},
		})
	})
}

// The agenda yields what is due first, and of equals what was scheduled first.
func TestAgendaModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a agenda
		var want []event
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				e := event{at: duration(10).Draw(t, "at")}
				a.push(e)
				e.seq = a.seq
				i, _ := slices.BinarySearchFunc(want, e, func(x, y event) int {
					if x.before(&y) {
						return -1
					}
					return 1
				})
				want = slices.Insert(want, i, e)
			},
			"pop": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("empty")
				}
				if got := a.pop(); got != want[0] {
					t.Fatalf("pop = %+v, want %+v", got, want[0])
				}
				want = want[1:]
			},
		})
	})
}
