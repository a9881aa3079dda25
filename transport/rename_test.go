package transport_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/transport"
	"github.com/kith-go/kith/transport/inproc"
)

// TestRename: a node that has another name answers to that one, with the handlers and
// subscriptions it has; what it waited for from itself fails, and nobody goes by the old name.
func TestRename(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m, err := transport.New(transport.Config{Name: "solo", Engine: inproc.New(inproc.Options{}).Engine("here")})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.SetPeers([]transport.Address{{Name: "alpha", Endpoint: "there"}, {Name: "bravo", Endpoint: "elsewhere"}})
		handlers := map[string]transport.Handler{
			"echo": func(_ context.Context, r transport.Message) (transport.Message, error) {
				return transport.Message{Body: []byte(r.Peer)}, nil
			},
			"hang": func(ctx context.Context, _ transport.Message) (transport.Message, error) {
				<-ctx.Done()
				return transport.Message{}, ctx.Err()
			},
		}
		for subject, h := range handlers {
			if err := m.Handle(subject, h); err != nil {
				t.Fatal(err)
			}
		}
		sub, err := m.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		alpha := m.Peer("alpha")
		waiting := make(chan error)
		go func() {
			_, err := m.Request(t.Context(), "solo", "hang", nil)
			waiting <- err
		}()
		synctest.Wait()

		if err := m.Rename("alpha"); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "another name") {
			t.Errorf("a request to itself, under the old name: %v", err)
		}
		if self := m.Self(); self.Name != "alpha" || m.Peer("alpha") != alpha || alpha.Status().State != transport.Up {
			t.Errorf("it is %+v, the handle is %+v", self, alpha.Status())
		}
		if reply, err := alpha.Request(t.Context(), "echo", nil); err != nil || string(reply.Body) != "alpha" {
			t.Errorf("it answers itself as %q, %v", reply.Body, err)
		}
		if _, err := m.Request(t.Context(), "solo", "echo", nil); !errors.Is(err, transport.ErrNoPeer) {
			t.Errorf("the old name: %v", err)
		}
		if peers := m.Peers(); len(peers) != 1 || peers[0].Name() != "bravo" {
			t.Errorf("its peers are %v", peers)
		}
		if info := m.Info(); info.Name != "alpha" {
			t.Errorf("it tells that it is %s", info.Name)
		}
		synctest.Wait() // for it to tell itself what it subscribes to
		if n, err := m.Publish(t.Context(), "news", []byte("x")); n != 1 || err != nil {
			t.Fatalf("published to %d, %v", n, err)
		}
		lagged := false
		for p, err := range sub.All(t.Context()) {
			if lag, ok := errors.AsType[*transport.LagError](err); ok {
				lagged = lag.Peer == "solo"
				continue
			}
			if err != nil || p.Peer != "alpha" || !lagged {
				t.Errorf("published by itself: %+v, %v; told of the break: %v", p, err, lagged)
			}
			break
		}
		if err := m.Rename("alpha"); err != nil {
			t.Errorf("the same name again: %v", err)
		}
		if err := m.Rename("a\x00"); !errors.Is(err, transport.ErrSubject) {
			t.Errorf("a name that is none: %v", err)
		}
		m.Close()
		if err := m.Rename("x"); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
