package transport

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPrefixes: against a list of pairs that is searched from end to end.
func TestPrefixes(t *testing.T) {
	type pair struct {
		prefix string
		value  int
	}
	topic := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 5, -1)
	value := rapid.IntRange(0, 3)
	rapid.Check(t, func(t *rapid.T) {
		var p prefixes[int]
		p.init()
		var model []pair
		under := func(prefix string) bool {
			return slices.ContainsFunc(model, func(o pair) bool { return o.prefix == prefix })
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				o := pair{topic.Draw(t, "prefix"), value.Draw(t, "value")}
				want := !under(o.prefix)
				if !slices.Contains(model, o) {
					model = append(model, o)
				}
				if first := p.add(o.prefix, o.value); first != want {
					t.Fatalf("add(%v) is %v", o, first)
				}
			},
			"remove": func(t *rapid.T) {
				o := pair{topic.Draw(t, "prefix"), value.Draw(t, "value")}
				was := under(o.prefix)
				model = slices.DeleteFunc(model, func(x pair) bool { return x == o })
				if last := p.remove(o.prefix, o.value); last != (was && !under(o.prefix)) {
					t.Fatalf("remove(%v) is %v", o, last)
				}
			},
			"match": func(t *rapid.T) {
				topic := topic.Draw(t, "topic")
				var want []int
				for _, o := range model {
					if strings.HasPrefix(topic, o.prefix) && !slices.Contains(want, o.value) {
						want = append(want, o.value)
					}
				}
				got := match(&p, nil, topic)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%q matches %v, want %v", topic, got, want)
				}
			},
		})
		for _, o := range model {
			p.remove(o.prefix, o.value)
		}
		if len(p.by)+len(p.lengths)+len(p.count) != 0 {
			t.Fatalf("left: %+v", p)
		}
	})
}
