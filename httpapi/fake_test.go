package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
	"github.com/kith-go/kith/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

var _ Node = (*kith.Node)(nil)

var errFakeClosed = errors.New("fake: closed")

// fakeNode is a Node made of values. Like the real one it keeps nothing for slow
// readers: they see the newest state and a count of what they missed.
type fakeNode struct {
	ctx  context.Context
	stop context.CancelCauseFunc

	mu      sync.Mutex // guards all below
	status  kith.Status
	list    *peers.Peers
	members []membership.Member
	last    []membership.Change
	version int   // of members
	listed  int   // version of list
	listErr error // why newer content of the list is refused
	changed chan struct{}
	watches int   // running
	mute    error // of calls about messages

	replica *fakeReplica
	store   *kv.Store
}

var t0 = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newFake(t *testing.T) *fakeNode {
	t.Helper()
	f := &fakeNode{
		status: kith.Status{
			Name: "alpha", PID: 1, Cluster: "test", Version: "0.1.0", Started: t0,
			Incarnation: 0x1234, ControlAddr: netip.MustParseAddrPort("127.0.0.1:7001"),
			PeersPath: "/etc/kith/peers.json", PeersLoaded: t0, Alive: 2,
		},
		list: &peers.Peers{
			Info: map[string]any{"cluster": "test"},
			Peers: []*peers.Peer{
				{PID: 1, Name: "alpha", IPAddr: "127.0.0.1", Port: 6001},
				{PID: 3, Name: "charlie", IPAddr: "127.0.0.1", Port: 6003},
				{PID: 2, Name: "bravo", IPAddr: "127.0.0.1", Port: 6002, ControlPort: 9002},
			},
		},
		members: []membership.Member{
			{
				Name: "alpha", PID: 1, Addr: netip.MustParseAddrPort("127.0.0.1:7001"), Status: membership.StatusAlive,
				Since: t0, Incarnation: 0x1234, Version: "0.1.0", Local: true,
			},
			{
				Name: "bravo", PID: 2, Addr: netip.MustParseAddrPort("127.0.0.1:9002"), Status: membership.StatusAlive,
				Since: t0.Add(time.Second), Incarnation: 0x5678, Version: "0.1.0", RTT: 1500 * time.Microsecond,
				Tags: map[string]string{"zone": "a"},
			},
		},
		changed: make(chan struct{}),
	}
	f.ctx, f.stop = context.WithCancelCause(context.Background())
	f.replica = newFakeReplica(f.ctx)
	f.store = kv.New(f.replica)
	t.Cleanup(func() { f.stop(errFakeClosed) })
	return f
}

func (f *fakeNode) Context() context.Context { return f.ctx }

func (f *fakeNode) KV() *kv.Store { return f.store }

// Client is for what a node of values does not do: tests of locks and groups have real
// nodes.
func (f *fakeNode) Client(string, time.Duration) *kith.Client { panic("fake: it holds nothing") }

func (f *fakeNode) Status() kith.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeNode) Peers() *peers.Peers {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list.Clone()
}

func (f *fakeNode) Members() []membership.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members
}

// update changes the state by edit and wakes the watchers.
func (f *fakeNode) update(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	close(f.changed)
	f.changed = make(chan struct{})
}

// happen makes members the new state, in which changes resulted.
func (f *fakeNode) happen(members []membership.Member, changes ...membership.Change) {
	f.update(func() { f.members, f.last, f.version = members, changes, f.version+1 })
}

func (f *fakeNode) setPeers(list *peers.Peers) {
	f.update(func() { f.list, f.listed = list, f.listed+1 })
}

// refuse makes err the reason why newer content of the list is not in force, nil
// for none.
func (f *fakeNode) refuse(err error) {
	f.update(func() {
		f.listErr, f.listed, f.status.PeersError = err, f.listed+1, ""
		if err != nil {
			f.status.PeersError = err.Error()
		}
	})
}

func (f *fakeNode) running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watches
}

func (f *fakeNode) WatchMembers(ctx context.Context) iter.Seq2[membership.View, error] {
	return func(yield func(membership.View, error) bool) {
		f.update(func() { f.watches++ })
		defer f.update(func() { f.watches-- })
		seen := -1
		for {
			f.mu.Lock()
			view, version, changed := membership.View{Members: f.members}, f.version, f.changed
			if seen >= 0 && version > seen {
				view.Changes, view.Skipped = f.last, version-seen-1
			}
			f.mu.Unlock()
			if version != seen {
				if !yield(view, nil) {
					return
				}
				seen = version
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(membership.View{}, context.Cause(ctx))
				return
			case <-f.ctx.Done():
				yield(membership.View{}, context.Cause(f.ctx))
				return
			}
		}
	}
}

func (f *fakeNode) WatchPeers(ctx context.Context) iter.Seq2[peers.Change, error] {
	return func(yield func(peers.Change, error) bool) {
		seen := -1
		for {
			f.mu.Lock()
			list, version, changed, err := f.list.Clone(), f.listed, f.changed, f.listErr
			f.mu.Unlock()
			if version != seen && !yield(peers.Change{Current: list}, err) {
				return
			}
			seen = version
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-f.ctx.Done():
				yield(peers.Change{Current: list}, kith.ErrClosed)
				return
			}
		}
	}
}

// serve runs h behind a real server and returns a client for it. Everything ends
// with the test.
func serve(t *testing.T, h http.Handler, token string) (*httptest.Server, *Client) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := NewClient(srv.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv, c
}

// eventually waits until ok, which must become true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// crowd returns n members with long names.
func crowd(n int) []membership.Member {
	members := make([]membership.Member, n)
	for i := range members {
		members[i] = membership.Member{
			Name: fmt.Sprintf("a-member-with-a-rather-long-name-%06d", i), PID: uint32(i + 1),
			Status: membership.StatusAlive, Since: t0,
		}
	}
	return members
}

// A node of values carries no messages: tests of those have real nodes.

func (f *fakeNode) Request(_ context.Context, peer, subject string, _ []byte, _ ...transport.CallOption) (transport.Message, error) {
	return transport.Message{}, f.muted("request to "+peer, subject)
}

func (f *fakeNode) Send(_ context.Context, peer, subject string, _ []byte, _ ...transport.CallOption) error {
	return f.muted("send to "+peer, subject)
}

func (f *fakeNode) Publish(_ context.Context, topic string, _ []byte, _ ...transport.CallOption) (int, error) {
	return 0, f.muted("publish", topic)
}

func (f *fakeNode) Subscribe(prefix string, _ ...transport.SubscribeOption) (*transport.Subscription, error) {
	return nil, f.muted("subscribe", prefix)
}

// muted is the error of all that has to do with messages; tests may set which.
func (f *fakeNode) muted(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return outcome.With(op, name, cmp.Or(f.mute, kith.ErrNoMessages), outcome.NotDone)
}
