package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestHeadGolden: the bytes that docs/wire.md promises.
func TestHeadGolden(t *testing.T) {
	for _, tc := range []struct {
		want    string
		kind    kind
		id      uint64
		value   uint32
		subject string
		header  Header
	}{
		{"01 00 0000000000000005 000003e8 0003 73756d", kindRequest, 5, 1000, "sum", nil},
		{"02 00 0000000000000005 00000000 0000", kindReply, 5, 0, "", nil},
		{"03 00 0000000000000005 00000003 0000", kindError, 5, uint32(statusNoHandler), "", nil},
		{"06 00 0000000000000000 00000000 0001 74 0001 61 0002 6263 0001 62 0000", kindPublish, 0, 0, "t", Header{"b": "", "a": "bc"}},
		{"0f 00 0000000000000009 00100000 0000", kindCredit, 9, 1 << 20, "", nil},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendHead([]byte("x"), tc.kind, tc.id, tc.value, tc.subject, tc.header)
		if err != nil || !bytes.Equal(got[1:], want) {
			t.Errorf("got % x, %v; want % x", got, err, want)
		}
	}
}

// TestHeadRoundTrip: what was written is read, whatever it is.
func TestHeadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := kind(rapid.Byte().Draw(t, "kind"))
		id, value := rapid.Uint64().Draw(t, "id"), rapid.Uint32().Draw(t, "value")
		subject := rapid.StringN(0, 100, MaxSubject).Draw(t, "subject")
		header := Header(rapid.MapOfN(rapid.StringN(1, 20, 80), rapid.String(), 0, 5).Draw(t, "header"))
		b, err := appendHead(nil, k, id, value, subject, header)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHead(b)
		if err != nil || h.kind != k || h.id != id || h.value != value || string(h.subject) != subject || !maps.Equal(h.header(), header) {
			t.Fatalf("% x was read as %+v %v, %v", b, h, h.header(), err)
		}
		if len(b) > 0 {
			if _, err := parseHead(b[:len(b)-1]); err == nil && len(header) > 0 {
				t.Fatalf("% x was read without its last byte", b)
			}
		}
	})
}

func TestHeadRefuses(t *testing.T) {
	good := rawHead(kindRequest, 1, 0, "subject")
	for name, bad := range map[string][]byte{
		"nothing":               nil,
		"too short":             good[:fixedHead-1],
		"subject cut off":       good[:len(good)-1],
		"subject too long":      rawHead(kindRequest, 1, 0, strings.Repeat("x", MaxSubject+1)),
		"subject not UTF-8":     rawHead(kindRequest, 1, 0, "\xff"),
		"half a length":         append(slices.Clone(good), 0),
		"header without a name": append(slices.Clone(good), 0, 0, 0, 0),
		"header without value":  append(slices.Clone(good), 0, 1, 'a'),
		"value cut off":         append(slices.Clone(good), 0, 1, 'a', 0, 2, 'b'),
		"value not UTF-8":       append(slices.Clone(good), 0, 1, 'a', 0, 1, 0xff),
		"too long":              append(slices.Clone(good), make([]byte, MaxHead)...),
	} {
		if h, err := parseHead(bad); !errors.Is(err, errMalformed) {
			t.Errorf("%s: read as %+v, %v", name, h, err)
		}
	}
	for name, header := range map[string]Header{
		"no name": {"": "x"}, "name not UTF-8": {"\xff": "x"}, "value not UTF-8": {"x": "\xff"},
		"large": {"x": strings.Repeat("x", MaxHead)}, "large together": {"x": strings.Repeat("x", MaxHead/2), "y": strings.Repeat("x", MaxHead/2)},
	} {
		if b, err := appendHead(nil, kindSend, 0, 0, "s", header); err == nil || len(b) != 0 {
			t.Errorf("%s: written as %d bytes", name, len(b))
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add(rawHead(kindRequest, 1, 1000, "sum"))
	full, _ := appendHead(nil, kindPublish, 1<<60, 7, "t/é", Header{"a": "b", Traceparent: "00-1"})
	f.Add(full)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(b)
		if err != nil {
			return
		}
		again, err := appendHead(nil, h.kind, h.id, h.value, string(h.subject), h.header())
		if err != nil {
			t.Fatalf("% x was read and cannot be written: %v", b, err)
		}
		g, err := parseHead(again)
		if err != nil || g.id != h.id || g.value != h.value || !bytes.Equal(g.subject, h.subject) || !maps.Equal(g.header(), h.header()) {
			t.Fatalf("% x became % x", b, again)
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add(AppendPacket(AppendPacket(nil, Packet{[]byte("head"), []byte("body")}), Packet{Head: []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for p, err := range Packets(b) {
			if err != nil {
				if !bytes.HasPrefix(b, again) {
					t.Fatalf("% x was read as % x", b, again)
				}
				return
			}
			if cap(p.Head) != len(p.Head) || cap(p.Body) != len(p.Body) {
				t.Fatal("a packet can grow into the next one")
			}
			again = AppendPacket(again, p)
		}
		if !bytes.Equal(b, again) {
			t.Fatalf("% x was read as % x", b, again)
		}
	})
}
