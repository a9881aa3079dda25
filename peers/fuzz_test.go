package peers

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		f.Add([]byte(read(f, file)))
	}
	for _, text := range []string{
		"", "null", "[]", "{}", "{]", "{} {}", "\ufeff{}", "\xff", `{"a":1,"a":[{"b":2,"b":3}]}`,
		`{"info":{"x":1e999,"y":-0,"z":[[],{}]},"replicas":null}`,
		`{"replicas":[null,1,"a",[],{"PID":1,"pid":"x","prot":4,"name":"\ud800"}]}`,
		`{"replicas":[{"pid":1,"name":"a","ip_address":"::1%x","port":65000}],"info":[]}`,
		"{\"replicas\"\r\n:\t[ {\n} , {\"port\" : 70000 }\n]}",
	} {
		f.Add([]byte(text))
	}
}

// FuzzLoad: no text makes the package panic, and one that is read is written and
// read again as the same, faults and all.
func FuzzLoad(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := decodePeers(text, "x.json")
		if err != nil {
			if invalid, ok := errors.AsType[*InvalidError](err); !ok || len(invalid.Faults) == 0 || invalid.Path != "x.json" {
				t.Fatalf("error is %#v", err)
			}
			return
		}
		_ = list.Validate()
		_ = list.Warnings()
		file, err := list.encodeFile()
		if err != nil {
			t.Fatalf("read, and not to be written: %v", err)
		}
		again, err := decodePeers(file, "")
		if err != nil {
			t.Fatalf("written as %s, and not to be read: %v", file, err)
		}
		if !list.same(again) || !list.Diff(again).Empty() {
			t.Fatalf("written as %s, read as something else", file)
		}
		for _, p := range list.Sorted() {
			_ = p.Endpoint(true) + p.ZMQEndpoint(false) + p.ControlEndpoint()
		}
		if d := (*Peers)(nil).Diff(list); d.Empty() != (len(list.Peers) == 0) {
			t.Fatalf("difference from nothing is %s", d)
		}
	})
}

// FuzzLocate: every place is inside the text, and that of a key is that key.
func FuzzLocate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		lines := strings.Split(string(text), "\n")
		inside := func(at place) string {
			if at.line < 1 || at.line > len(lines) || at.column < 1 || at.column > len(lines[at.line-1])+1 {
				t.Fatalf("%v is outside of %q", at, text)
			}
			return lines[at.line-1][at.column-1:]
		}
		list, err := decodePeers(text, "")
		if invalid, ok := errors.AsType[*InvalidError](err); ok {
			for _, fault := range invalid.Faults {
				inside(place{fault.Line, fault.Column})
			}
			return
		}
		origins := []*origin{list.origin}
		for _, p := range list.Peers {
			origins = append(origins, p.origin)
		}
		for _, o := range origins {
			if rest := inside(o.place); !strings.HasPrefix(rest, "{") {
				t.Fatalf("an object is said to begin with %q", rest)
			}
			for _, k := range append(o.keys, o.repeated...) {
				// The key on its line, decoded: a key holds no line break.
				var key string
				if err := json.NewDecoder(strings.NewReader(inside(k.place))).Decode(&key); err != nil {
					t.Fatalf("at %v is no key: %v", k.place, err)
				}
				if last := k.key[strings.LastIndex(k.key, ".")+1:]; !strings.EqualFold(key, k.key) && !strings.HasSuffix(key, last) {
					t.Fatalf("at %v is %q, want %q", k.place, key, k.key)
				}
			}
		}
	})
}
