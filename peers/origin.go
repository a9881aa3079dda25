package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// The keys of the file, as they are written.
var (
	listKeys = []string{"info", "replicas"}
	peerKeys = []string{"pid", "name", "description", "hostname", "ip_address",
		"domain", "port", "aws_instance", "control_port"}
)

// member is one key of a JSON object that this package does not know.
type member struct {
	key   string
	value json.RawMessage
}

// origin remembers where a JSON object was read, so that faults found later can
// name lines and the keys that the struct does not show.
type origin struct {
	place
	name     string     // of the whole text, the file or the URL; of a list only
	keys     []keyPlace // every key in order: known ones as peerKeys has them, the others as they are
	repeated []keyPlace // keys that occur twice in the same object, also in objects inside
}

type keyPlace struct {
	place
	key     string
	written string // as it is in the file, if that differs from key
}

// find returns the place of a key, or else that of the whole object.
func (o *origin) find(key string) place {
	if o == nil {
		return place{}
	}
	for _, k := range o.keys {
		if k.key == key {
			return k.place
		}
	}
	return o.place
}

// placeless returns the origin for a peer that comes from another text than the
// rest of its list: its keys count, its lines would mislead.
func (o *origin) placeless() *origin {
	if o == nil {
		return nil
	}
	without := func(keys []keyPlace) []keyPlace {
		keys = slices.Clone(keys)
		for i := range keys {
			keys[i].place = place{}
		}
		return keys
	}
	return &origin{keys: without(o.keys), repeated: without(o.repeated)}
}

// canonical returns the known key that key matches, or key.
func canonical(known []string, key string) string {
	for _, k := range known {
		if k == key {
			return k
		}
	}
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return key
}

// lastOfEach drops all but the last value of each repeated key, as encoding/json
// does for the fields of a struct.
func lastOfEach(extra []member, repeated []keyPlace) []member {
	if len(repeated) == 0 {
		return extra
	}
	last := make(map[string]int, len(extra))
	for i, m := range extra {
		last[m.key] = i
	}
	kept := extra[:0]
	for i, m := range extra {
		if last[m.key] == i {
			kept = append(kept, m)
		}
	}
	return kept
}

// repeatedInside finds the keys that occur twice in one object inside a value, at
// any depth. They are reported below name, as in "info.updated", at the place
// that belongs to their offset in raw.
func repeatedInside(raw json.RawMessage, name string, at func(offset int) place) ([]keyPlace, error) {
	if raw[0] != '{' && raw[0] != '[' {
		return nil, nil
	}
	type level struct {
		keys  map[string]struct{} // nil in an array
		isKey bool                // the next string is a key
	}
	var stack []level
	var repeated []keyPlace
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // one that no float64 holds is not this function's business
	for {
		offset := nextToken(raw, int(dec.InputOffset()))
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return repeated, nil
		}
		if err != nil {
			return nil, err
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: make(map[string]struct{}), isKey: true})
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		default:
			top := &stack[len(stack)-1]
			if !top.isKey {
				break
			}
			key, _ := token.(string)
			if _, twice := top.keys[key]; twice {
				repeated = append(repeated, keyPlace{place: at(offset), key: name + "." + key})
			}
			top.keys[key] = struct{}{}
			top.isKey = false
			continue
		}
		// A value has ended: what follows it in an object is a key.
		if len(stack) > 0 {
			top := &stack[len(stack)-1]
			top.isKey = top.keys != nil
		}
	}
}
