//go:build cgo && unix && !kith_nozmq

package zmq

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"testing"

	libzmq "github.com/pebbe/zmq4"
)

// joined connects a DEALER to a ROUTER of one context.
func joined(t *testing.T) (dealer, router *socket) {
	ctx, err := libzmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	open := func(kind libzmq.Type, attach func(*libzmq.Socket) error) *socket {
		s, err := newSocket(ctx, kind, attach)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	router = open(libzmq.ROUTER, func(z *libzmq.Socket) error { return z.Bind("inproc://parts") })
	dealer = open(libzmq.DEALER, func(z *libzmq.Socket) error { return z.Connect("inproc://parts") })
	t.Cleanup(func() {
		dealer.close()
		router.close()
		ctx.Term()
	})
	return dealer, router
}

// taken is all that an inbox holds, message by message.
func taken(in *inbox) (all [][]part) {
	for !in.done() {
		first, _ := in.take(true)
		m := []part{first}
		for p, ok := in.take(false); ok; p, ok = in.take(false) {
			m = append(m, p)
		}
		all = append(all, m)
	}
	return all
}

func TestInboxTakesWhatWasSent(t *testing.T) {
	dealer, router := joined(t)
	piece := func(n int, with string) []byte { return bytes.Repeat([]byte(with), n) }
	sent := [][][]byte{
		{piece(10, "a")},
		{piece(0, ""), piece(3, "b")},
		{piece(1, "\xfe"), piece(ownFrameFrom-1, "c")},
		{piece(1, "\xfe"), piece(ownFrameFrom, "d")}, // too large for the room
		{piece(1, "\xfe"), piece(1<<20, "e")},        // enough for a turn
		{piece(5, "f"), piece(1, "g"), piece(1, "!"), piece(1, "!"), piece(1, "!")},
		{{frameHello}, piece(0, "")},
	}
	for range 20 { // more than there is room for
		sent = append(sent, [][]byte{piece(5, "\xfe"), piece(ownFrameFrom/2, "h")})
	}
	for range 2 * turnMessages {
		sent = append(sent, [][]byte{piece(1, "\xff")})
	}
	for _, m := range sent {
		if _, err := dealer.z.SendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	in := new(inbox)
	for n, more := 0, true; more; {
		more = in.fill(router.raw, mostParts, true)
		got := taken(in)
		if len(got) > turnMessages {
			t.Errorf("%d messages in one turn", len(got))
		}
		for _, m := range got {
			want := sent[n][:min(len(sent[n]), mostParts-1)]
			if !slices.EqualFunc(m[1:], want, func(p part, b []byte) bool { return bytes.Equal(p.data, b) }) {
				t.Fatalf("message %d came in %d parts, the first with %.10q, instead of %.10q", n, len(m)-1, m[1].data, want[0])
			}
			for _, p := range m[1:] {
				if len(p.data) >= ownFrameFrom && !p.own {
					t.Errorf("%d bytes of message %d are lent", len(p.data), n)
				}
			}
			n++
		}
		if !more && n != len(sent) {
			t.Fatalf("%d of %d messages came", n, len(sent))
		}
	}
}

// TestInboxIsClearedUnread: parts that nobody looked at are given back.
func TestInboxIsClearedUnread(t *testing.T) {
	dealer, router := joined(t)
	in, large, before := new(inbox), make([]byte, 1<<20), 0
	for i := range 620 {
		if i == 20 {
			before = resident(t)
		}
		dealer.z.SendMessage([]byte("\xfe"), large)
		if in.fill(router.raw, mostParts, false); in.done() {
			t.Fatal("nothing came")
		}
		in.take(true)
		in.clear()
		if _, ok := in.take(true); ok || !in.done() {
			t.Fatal("something is left")
		}
	}
	if more := resident(t) - before; more > 400<<20 { // the address sanitizer holds 256 back
		t.Errorf("600 parts of a mebibyte left %d MiB behind", more>>20)
	}
}

// resident is the memory of this process, C's and Go's.
func resident(t *testing.T) int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(statm)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestBodiesMayBePartsOfAnything: also of what has pointers in it, of which cgo would let
// nothing pass to C that is an unsafe.Pointer there.
func TestBodiesMayBePartsOfAnything(t *testing.T) {
	dealer, router := joined(t)
	whole := &struct {
		pointer *int
		text    [2 * ownFrameFrom]byte
	}{pointer: new(int)}
	whole.text[0] = 'x'
	t.Cleanup(func() { whole.pointer = nil }) // so that it is not on the stack
	m := message{first: whole.text[:1], body: whole.text[:ownFrameFrom], two: true}
	if n, err := dealer.send(nil, []message{m}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	in := new(inbox)
	in.fill(router.raw, mostParts, true)
	if got := taken(in); len(got) != 1 || len(got[0]) != 3 || len(got[0][2].data) != ownFrameFrom || got[0][2].data[0] != 'x' {
		t.Errorf("it arrived as %d messages", len(got))
	}
}
