package transport

import (
	"context"
	"errors"
	"iter"
)

// everyone returns the handles of all listed peers, and of this node.
func (m *Messenger) everyone() []*Peer { return append(m.Peers(), m.Peer(m.Self().Name)) }

// errEnough is why the remaining requests of RequestAll are cancelled.
var errEnough = errors.New("kith: enough peers have replied")

// RequestAll asks all listed peers and this node at the same time, or those that To
// names, and yields what comes as it comes, one element for each: a reply, or an
// error as Request's. Message.Peer says whose it is, of errors too. Peers that are not
// connected to yield ErrUnreachable at once. With First(n) it ends with the n-th reply.
// When it ends, or the loop is left, requests that are under way are cancelled; their
// handlers may have run. It asks when it is ranged over, each time anew.
func (m *Messenger) RequestAll(ctx context.Context, subject string, body []byte, opts ...CallOption) iter.Seq2[Message, error] {
	o := collect(opts)
	return func(yield func(Message, error) bool) {
		names := o.to
		if names == nil {
			for _, p := range m.everyone() {
				names = append(names, p.name)
			}
		}
		m.gather(ctx, names, Message{Subject: subject, Header: o.header, Body: body}, o.first, yield)
	}
}

func (m *Messenger) gather(ctx context.Context, names []string, request Message, first int, yield func(Message, error) bool) {
	type result struct {
		reply Message
		err   error
	}
	ctx, cancel := context.WithCancelCause(ctx)
	results := make(chan result, len(names)) // nobody waits to hand one in
	running := 0
	defer func() {
		cancel(errEnough)
		for ; running > 0; running-- {
			<-results
		}
	}()
	for _, name := range names {
		running++
		go func() {
			reply, err := m.call(ctx, name, request, true)
			reply.Peer = name
			results <- result{reply, m.failed("request to", name, request.Subject, err)}
		}()
	}
	for replies := 0; running > 0; {
		r := <-results
		running--
		if !yield(r.reply, r.err) {
			return
		}
		if r.err == nil {
			if replies++; replies == first {
				return
			}
		}
	}
}
