package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/secret"
)

const otherID = "ffeeddccbbaa99887766554433221100"

// TestMembers: connections of the agreement reach only whom they are meant for
// (SAFETY.md, S2), and nobody before birth (S1).
func TestMembers(t *testing.T) {
	for name, tc := range map[string]struct {
		us, them string // cluster IDs, "" before birth
		id, to   uint64 // our Raft ID, and the one we call; theirs is 2
		code     Code
		text     string
	}{
		"members":         {us: testID, them: testID, id: 1, to: 2},
		"unborn listener": {us: testID, id: 1, to: 2, code: CodeUnborn, text: "belongs to no cluster yet"},
		"unborn dialler":  {them: testID, to: 2, code: CodeForeign, text: "you to none"},
		"both unborn":     {to: 2, code: CodeUnborn},
		"foreign":         {us: otherID, them: testID, id: 1, to: 2, code: CodeForeign, text: "remove its state directory"},
		"a former member": {us: testID, them: testID, id: 1, to: 7, code: CodeStaleID, text: "member 2 of the cluster, not 7"},
		"nobody called":   {us: testID, them: testID, id: 1, code: CodeStaleID},
		"nobody calls":    {us: testID, them: testID, to: 2, code: CodeStaleID},
		"its own ID":      {us: testID, them: testID, id: 2, to: 2, code: CodeStaleID, text: "member 2 calls member 2"},
	} {
		t.Run(name, func(t *testing.T) {
			hellos := make(chan Hello, 1)
			a, _ := open(t, "alpha", nil)
			b, _ := open(t, "bravo", func(c *Config) {
				c.OnStream = func(c net.Conn, h Hello) { hellos <- h; c.Close() }
			})
			if tc.us != "" {
				a.Bind(tc.us, tc.id)
			}
			if tc.them != "" {
				b.Bind(tc.them, 2)
			}
			for _, purpose := range []Purpose{Raft, Snapshot} {
				_, id, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: purpose, RaftID: tc.to})
				if tc.code == "" {
					if err != nil || id.ClusterID != testID || id.RaftID != 2 {
						t.Fatalf("%s: %+v, %v", purpose, id, err)
					}
					h := <-hellos
					if h.ClusterID != testID || h.RaftID != 1 || h.ToID != 2 || h.Purpose != purpose || h.Route() != (Route{TagOf(testID), 1, 2}) {
						t.Errorf("%s: the listener saw %+v", purpose, h)
					}
					continue
				}
				r, ok := errors.AsType[*Refusal](err)
				if !ok || r.Code != tc.code || !strings.Contains(r.Text, tc.text) {
					t.Errorf("%s: %v, want %s %q", purpose, err, tc.code, tc.text)
				}
			}
			// Everything else is open to all, and says who is there.
			for _, purpose := range []Purpose{Probe, Gossip, Found} {
				conn, id, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: purpose})
				if err != nil || id.ClusterID != tc.them {
					t.Fatalf("%s: %+v, %v", purpose, id, err)
				}
				if conn != nil {
					conn.Close()
					if h := <-hellos; h.ClusterID != tc.us || h.Purpose != purpose {
						t.Errorf("%s: the listener saw %+v", purpose, h)
					}
				}
			}
		})
	}
}

// TestDiallerChecksMember: it does not rely on the listener's refusals.
func TestDiallerChecksMember(t *testing.T) {
	good := Identity{Cluster: "test", Name: "bravo", Addr: netip.MustParseAddrPort("10.0.0.2:1"), ClusterID: testID, RaftID: 2}
	for name, tc := range map[string]struct {
		edit func(*Identity)
		ok   bool
	}{
		"honest":         {func(*Identity) {}, true},
		"another ID":     {func(id *Identity) { id.RaftID = 3 }, false},
		"foreign":        {func(id *Identity) { id.ClusterID = otherID }, false},
		"unborn":         {func(id *Identity) { id.ClusterID, id.RaftID = "", 0 }, false},
		"no cluster ID":  {func(id *Identity) { id.ClusterID = "x\x1b[2J" }, false},
		"capital digits": {func(id *Identity) { id.ClusterID = strings.ToUpper(otherID) }, false},
	} {
		a, _ := open(t, "alpha", nil)
		a.Bind(testID, 1)
		id := good
		tc.edit(&id)
		conn, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: answering(t, id.frame()), Purpose: Raft, RaftID: 2})
		if tc.ok != (err == nil) || !tc.ok && !errors.Is(err, ErrNotKith) {
			t.Errorf("%s: %v", name, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

// TestAsk: before birth, founders talk.
func TestAsk(t *testing.T) {
	key := secret.NewKey()
	for mode, edit := range map[string]func(*Config){"plain": nil, "key": withKey(key)} {
		t.Run(mode, func(t *testing.T) {
			a, _ := open(t, "alpha", edit)
			served := make(chan error, 1)
			var block chan struct{}
			b, _ := open(t, "bravo", func(c *Config) {
				if edit != nil {
					edit(c)
				}
				c.OnStream = func(conn net.Conn, h Hello) {
					served <- Answer(t.Context(), conn, func(_ context.Context, q []byte) []byte {
						if block != nil {
							<-block
						}
						return fmt.Appendf(nil, "%s asked %d bytes", h.Name, len(q))
					})
				}
			})
			call := Call{Name: "bravo", Addr: b.Addr().String()}
			for _, size := range []int{0, 5, 1 << 20} {
				answer, id, err := a.Ask(t.Context(), call, make([]byte, size))
				if err != nil || string(answer) != fmt.Sprintf("alpha asked %d bytes", size) || id.Name != "bravo" {
					t.Errorf("%q of %+v, %v", answer, id, err)
				}
				if err := <-served; err != nil {
					t.Error(err)
				}
			}
			// Whoever asks decides how long that may take.
			block = make(chan struct{})
			enough := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(enough) })
			if _, _, err := a.Ask(ctx, call, nil); !errors.Is(err, enough) {
				t.Errorf("a slow answer: %v", err)
			}
			close(block)
			<-served
			// What is no question is not answered.
			conn, _, err := a.Dial(t.Context(), Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Found})
			if err != nil {
				t.Fatal(err)
			}
			conn.Write(AppendFrame(nil, Route{}, KindRaft, nil))
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("an answer to no question: %v", err)
			}
			conn.Close()
			if err := <-served; !errors.Is(err, ErrFrame) {
				t.Errorf("no question: %v", err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	a, _ := open(t, "alpha", nil)
	b, _ := open(t, "bravo", func(c *Config) {
		c.Admit = func(context.Context, Hello) *Refusal { return &Refusal{Code: CodeLeaving, Text: "no"} }
	})
	call := Call{Name: "bravo", Addr: b.Addr().String(), Purpose: Probe}
	if _, _, err := a.Dial(t.Context(), call); err == nil || Refused(err) {
		t.Errorf("a refusal in words: %v counts as refused", err)
	}
	b.Close()
	_, _, err := a.Dial(t.Context(), call)
	if !Refused(err) || !Refused(fmt.Errorf("again: %w", err)) {
		t.Errorf("%v does not count as refused", err)
	}
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"nil":     {nil, false},
		"dial":    {&net.OpError{Op: "dial", Net: "tcp", Err: refused}, true},
		"read":    {&net.OpError{Op: "read", Net: "tcp", Err: refused}, false}, // of UDP, for instance
		"udp":     {&net.OpError{Op: "dial", Net: "udp", Err: refused}, false},
		"bare":    {refused, false},
		"reset":   {&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNRESET)}, false},
		"timeout": {&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, false},
	} {
		if Refused(tc.err) != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}
