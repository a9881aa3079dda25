package transport

import "slices"

// prefixes finds, for a topic, all values that were put under a prefix of it. It
// looks once per length that occurs, however many prefixes there are.
type prefixes[V comparable] struct {
	by      map[string][]V
	lengths []int // that occur, ascending
	count   map[int]int
}

func (p *prefixes[V]) init() {
	p.by, p.count = map[string][]V{}, map[int]int{}
}

// add puts v under a prefix; once is enough. It reports whether it is the prefix's
// first.
func (p *prefixes[V]) add(prefix string, v V) (first bool) {
	values, known := p.by[prefix]
	if slices.Contains(values, v) {
		return false
	}
	p.by[prefix] = append(values, v)
	if n := len(prefix); !known {
		if p.count[n]++; p.count[n] == 1 {
			at, _ := slices.BinarySearch(p.lengths, n)
			p.lengths = slices.Insert(p.lengths, at, n)
		}
	}
	return !known
}

// remove takes v away from under a prefix. It reports whether it was the last.
func (p *prefixes[V]) remove(prefix string, v V) (last bool) {
	values, known := p.by[prefix]
	if !known {
		return false
	}
	if values = slices.DeleteFunc(values, func(o V) bool { return o == v }); len(values) > 0 {
		p.by[prefix] = values
		return false
	}
	delete(p.by, prefix)
	n := len(prefix)
	if p.count[n]--; p.count[n] == 0 {
		delete(p.count, n)
		at, _ := slices.BinarySearch(p.lengths, n)
		p.lengths = slices.Delete(p.lengths, at, at+1)
	}
	return true
}

// match appends to dst what is under the prefixes of topic, each value once.
func match[V comparable, T ~string | ~[]byte](p *prefixes[V], dst []V, topic T) []V {
	several := false
	for _, n := range p.lengths {
		if n > len(topic) {
			break
		}
		values := p.by[string(topic[:n])]
		if len(values) == 0 {
			continue
		}
		if several {
			for _, v := range values {
				if !slices.Contains(dst, v) {
					dst = append(dst, v)
				}
			}
			continue
		}
		dst, several = append(dst, values...), true
	}
	return dst
}
