package zmq

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/transport"
)

func FuzzGreeting(f *testing.F) {
	f.Add(appendHello(nil, greeting{from: transport.Identity{Name: "alpha", Incarnation: 7}, beat: time.Second, to: "bravo"}))
	f.Add(appendWelcome(nil, greeting{from: transport.Identity{Name: "bravo", Incarnation: 1 << 63}}))
	f.Add([]byte{frameHello, 2})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		g, err := parseGreeting(frame)
		if err != nil {
			return
		}
		again := appendWelcome(nil, g)
		if frame[0] == frameHello {
			again = appendHello(nil, g)
		}
		if !bytes.HasPrefix(frame, again) {
			t.Fatalf("%q was read as %q", frame, again)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add(appendRefusal(nil, refusedStale, "a later run is connected"))
	f.Add([]byte{frameRefusal, 1, 0xff})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if r, err := parseRefusal(frame); err == nil && (r.why != reason(frame[1]) || len(r.Text) > len(frame)) {
			t.Fatalf("%q was read as %+v", frame, r)
		}
	})
}

// collected is a line that keeps what it hears.
type collected []transport.Packet

func (c *collected) Received(head, body []byte) {
	*c = append(*c, transport.Packet{Head: bytes.Clone(head), Body: body})
}
func (*collected) Closed(error) {}

const fuzzPacket = 1 << 10

// FuzzReader gives a reader three messages, which may be parts of one packet.
func FuzzReader(f *testing.F) {
	bundle := transport.AppendPacket([]byte{frameBundle}, transport.Packet{Head: []byte("\x01head"), Body: []byte("body")})
	none := []byte(nil)
	single := append([]byte{frameSingle, 0, 0, 0, 8}, "\x01head"...)
	f.Add(bundle, none, transport.AppendPacket(bundle, transport.Packet{Head: []byte("\x02")}), none, bundle, none)
	f.Add(single, []byte("1234"), []byte{frameMore}, []byte("56"), []byte{frameMore}, []byte("78"))
	f.Add(single, []byte("12345678"), bundle, none, []byte{frameMore}, []byte("9"))
	f.Add([]byte{frameBundle, 0, 1, 0xff, 0xff, 0xff, 0xff, 1}, none, []byte{frameSingle, 0xff, 0xff, 0xff, 0xff, 1}, []byte("x"), []byte{255}, none)
	f.Fuzz(func(t *testing.T, first1, body1, first2, body2, first3, body3 []byte) {
		var got collected
		r := reader{line: &got, maxPacket: fuzzPacket}
		for _, m := range [][2][]byte{{first1, body1}, {first2, body2}, {first3, body3}} {
			if len(m[0]) == 0 {
				return // both receivers refuse these
			}
			before := len(got)
			err := r.take(m[0], part{data: m[1]})
			if cap(r.body) > 2*fuzzPacket {
				t.Fatalf("made room for %d bytes", cap(r.body))
			}
			if err == nil && m[0][0] == frameBundle {
				again := []byte{frameBundle}
				for _, p := range got[before:] {
					again = transport.AppendPacket(again, p)
				}
				if !bytes.Equal(again, m[0]) {
					t.Fatalf("%q was delivered as %q", m[0], again)
				}
			}
		}
		for _, p := range got {
			if len(p.Head) == 0 || p.Head[0] >= ownFrames || len(p.Head) > transport.MaxHead || p.Size() > fuzzPacket {
				t.Fatalf("delivered %q", p)
			}
		}
	})
}

// TestBodiesKeepLittleAlive: a small body is not a piece of a large bundle.
func TestBodiesKeepLittleAlive(t *testing.T) {
	bundle := []byte{frameBundle}
	for range 100 {
		bundle = transport.AppendPacket(bundle, transport.Packet{Head: []byte("\x01"), Body: bytes.Repeat([]byte("b"), 100)})
	}
	var got collected
	r := reader{line: &got, maxPacket: fuzzPacket}
	if err := r.take(bundle, part{}); err != nil || len(got) != 100 {
		t.Fatal(len(got), err)
	}
	clear(bundle)
	for _, p := range got {
		if len(p.Body) != 100 || p.Body[0] != 'b' || cap(p.Body) > 128 {
			t.Fatalf("a body lies in the bundle: %q, room for %d", p.Body, cap(p.Body))
		}
	}
}

func TestTaken(t *testing.T) {
	if n, err := parseTaken(appendTaken(nil, 1<<40+1)); n != 1<<40+1 || err != nil {
		t.Error(n, err)
	}
	for _, bad := range [][]byte{nil, {frameTaken}, {frameTaken, 1, 2, 3}, {frameBeat, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := parseTaken(bad); !errors.Is(err, errFrame) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefusedErrorTellsWhy(t *testing.T) {
	r, err := parseRefusal(appendRefusal(nil, refusedNotMe, "this is \xffcharlie"+strings.Repeat("!", 4096)))
	if err != nil || !strings.Contains(r.Error(), "this is ?charlie!!") || len(r.Text) > maxRefusal {
		t.Errorf("%v, %v", r, err)
	}
}
