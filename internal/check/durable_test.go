package check

import (
	"testing"

	"github.com/kith-go/kith/internal/outcome"
)

func TestDurable(t *testing.T) {
	write := func(s script) {
		s.did(set("a", "1"), at(1))
		s.did(set("a", "2"), at(2))
		s.did(set("b", "3"), at(3))
		s.did(del("b"), Result{Outcome: outcome.Done, Found: true, Revision: 4})
		s.did(set("c", "4"), at(5))
		s.did(del("c").at(5), unknown)
		s.did(set("d", "6"), unknown)
	}
	for _, tt := range []struct {
		name string
		ok   bool
		held []Entry
	}{
		{"as acknowledged", true, []Entry{{"a", "2", 2}, {"c", "4", 5}}},
		{"with what was unknown", true, []Entry{{"a", "2", 2}, {"d", "6", 7}}},
		{"a write lost", false, []Entry{{"c", "4", 5}}},
		{"the last write lost", false, []Entry{{"a", "1", 1}, {"c", "4", 5}}},
		{"another value", false, []Entry{{"a", "1", 2}, {"c", "4", 5}}},
		{"a later version from nowhere", false, []Entry{{"a", "1", 6}, {"c", "4", 5}}},
		{"a removed key is back", false, []Entry{{"a", "2", 2}, {"b", "3", 3}, {"c", "4", 5}}},
		{"a removed key is new", false, []Entry{{"a", "2", 2}, {"b", "3", 6}, {"c", "4", 5}}},
		{"a key from nowhere", false, []Entry{{"a", "2", 2}, {"c", "4", 5}, {"e", "7", 8}}},
		{"a key twice", false, []Entry{{"a", "2", 2}, {"a", "2", 2}, {"c", "4", 5}}},
		{"a key at another's revision", false, []Entry{{"a", "2", 2}, {"c", "4", 5}, {"d", "6", 4}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := script{NewHistory()}
			write(s)
			if err := Durable(s.Record(), "it", tt.held); (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
		})
	}
}
