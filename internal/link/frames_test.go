package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

const testID = "00112233445566778899aabbccddeeff"

var testRoute = Route{TagOf(testID), 3, 1 << 40}

func TestTagOf(t *testing.T) {
	if got, want := TagOf(testID), (Tag{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	for _, id := range []string{"", "0011", testID[1:] + "g", testID + "0"} {
		if got := TagOf(id); got != (Tag{}) {
			t.Errorf("%q has the tag %x", id, got)
		}
	}
}

// TestFrames: whatever goes in comes out, however the bytes arrive.
func TestFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		route := Route{From: rapid.Uint64().Draw(t, "from"), To: rapid.Uint64().Draw(t, "to")}
		copy(route.Tag[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "tag"))
		sizes := rapid.SliceOf(rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{trusted - 1, trusted, trusted + 1, 4*trusted + 1, readBuffer * 5}))).Draw(t, "sizes")
		var wire []byte
		var want [][]byte
		for i, size := range sizes {
			body := bytes.Repeat([]byte{byte(i), byte(size)}, size/2+1)[:size]
			cut := rapid.IntRange(0, size).Draw(t, "cut")
			wire = AppendFrame(wire, route, Kind(i), body[:cut], nil, body[cut:])
			want = append(want, body)
		}
		var source io.Reader = bytes.NewReader(wire)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 1:
			source = iotest.HalfReader(source)
		case 2:
			source = iotest.DataErrReader(source)
		}
		r := NewFrameReader(source, route)
		var bodies [][]byte
		for i := range want {
			kind, body, err := r.Read()
			if err != nil || kind != Kind(i) {
				t.Fatalf("frame %d: kind %d, %v", i, kind, err)
			}
			bodies = append(bodies, body)
		}
		if _, _, err := r.Read(); err != io.EOF {
			t.Fatalf("after the last: %v, want io.EOF", err)
		}
		for i := range want { // bodies may be kept
			if !bytes.Equal(bodies[i], want[i]) {
				t.Fatalf("frame %d changed", i)
			}
		}
	})
}

func TestTruncatedFrames(t *testing.T) {
	whole := AppendFrame(nil, testRoute, KindRaft, []byte("hello"))
	for n := range whole {
		r := NewFrameReader(bytes.NewReader(slices.Concat(whole, whole[:n])), testRoute)
		if _, _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, _, err := r.Read(); err != want {
			t.Errorf("%d of %d bytes: %v, want %v", n, len(whole), err, want)
		}
	}
	// A connection that breaks says how.
	broken := errors.New("broken")
	for _, n := range []int{0, 2, 10, len(whole) - 1} {
		r := NewFrameReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken)), testRoute)
		if _, _, err := r.Read(); err != broken {
			t.Errorf("after %d bytes: %v, want %v", n, err, broken)
		}
	}
}

// TestMisdirectedFrames: a frame of another cluster, or from or for another member, is
// none of this connection (SAFETY.md, S2).
func TestMisdirectedFrames(t *testing.T) {
	for name, edit := range map[string]func(*Route){
		"another cluster": func(r *Route) { r.Tag[7]++ },
		"another from":    func(r *Route) { r.From = 4 },
		"another to":      func(r *Route) { r.To++ },
		"shorter":         func(r *Route) { r.To = 0 },
		"longer":          func(r *Route) { r.To = math.MaxUint64 },
		"the way back":    func(r *Route) { *r = r.Back() },
		"none":            func(r *Route) { *r = Route{} },
	} {
		wrong := testRoute
		edit(&wrong)
		for _, body := range []string{"", "a body of some length"} {
			wire := AppendFrame(AppendFrame(nil, testRoute, KindRaft, []byte("good")), wrong, KindRaft, []byte(body))
			r := NewFrameReader(bytes.NewReader(wire), testRoute)
			if _, _, err := r.Read(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Read(); !errors.Is(err, ErrMisdirected) {
				t.Errorf("%s, body %q: %v, want ErrMisdirected", name, body, err)
			}
		}
	}
}

func TestNotFrames(t *testing.T) {
	head := func(n uint32, rest ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), rest...) }
	tooLong := appendHead(nil, testRoute, KindRaft, MaxBody+1)
	for name, wire := range map[string][]byte{
		"nothing":          head(0),
		"too short":        head(uint32(minRouteSize)),
		"http":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"a length of ones": head(math.MaxUint32),
		"just too long":    tooLong,
	} {
		r := NewFrameReader(bytes.NewReader(wire), testRoute)
		if _, body, err := r.Read(); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %d bytes, %v; want ErrFrame", name, len(body), err)
		}
	}
}

// TestLengthsAreNotBelieved: memory follows what arrives.
func TestLengthsAreNotBelieved(t *testing.T) {
	for _, arrived := range []int{0, 1000, 1 << 20} {
		wire := append(appendHead(nil, testRoute, KindRaft, MaxBody), make([]byte, arrived)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := NewFrameReader(bytes.NewReader(wire), testRoute).Read(); err != io.ErrUnexpectedEOF {
			t.Errorf("%v, want io.ErrUnexpectedEOF", err)
		}
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(6*arrived+readBuffer+2*trusted); took > most {
			t.Errorf("%d bytes arrived and %d were set aside, want at most %d", arrived, took, most)
		}
	}
}

func FuzzReadFrames(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, testRoute, KindRaft, []byte("hello")), testRoute, KindRenew))
	f.Add(AppendFrame(nil, Route{}, KindQuestion, []byte("{}")))
	f.Add([]byte{0, 0, 0, 11, 1})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, route := range []Route{testRoute, {}} {
			r := NewFrameReader(bytes.NewReader(wire), route)
			var again []byte
			for {
				kind, body, err := r.Read()
				if err != nil {
					break
				}
				again = AppendFrame(again, route, kind, body)
			}
			if !bytes.HasPrefix(wire, again) {
				t.Fatalf("%x was read as %x", wire, again)
			}
		}
	})
}

// loop yields its bytes for ever.
type loop struct {
	bytes []byte
	at    int
}

func (l *loop) Read(b []byte) (int, error) {
	n := copy(b, l.bytes[l.at:])
	l.at = (l.at + n) % len(l.bytes)
	return n, nil
}

func BenchmarkReadFrame(b *testing.B) {
	wire := AppendFrame(nil, testRoute, KindRaft, make([]byte, 256))
	r := NewFrameReader(&loop{bytes: wire}, testRoute)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Read(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMore: half a frame counts, and nothing does not.
func TestMore(t *testing.T) {
	frame := AppendFrame(nil, Route{}, KindRaft, []byte("body"))
	r := NewFrameReader(bytes.NewReader(append(slices.Repeat(frame, 2), frame[:3]...)), Route{})
	for i, want := range []bool{true, true} {
		if _, _, err := r.Read(); err != nil || r.More() != want {
			t.Errorf("after frame %d: more %v, %v", i, r.More(), err)
		}
	}
	r = NewFrameReader(bytes.NewReader(frame), Route{})
	if _, _, err := r.Read(); err != nil || r.More() {
		t.Errorf("after the last frame: more %v, %v", r.More(), err)
	}
}
