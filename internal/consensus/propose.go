package consensus

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

const (
	// maxCalls and maxCallBytes bound what one node has under way; more is
	// ErrOverloaded. The machine's window (S8) is no smaller.
	maxCalls     = 8192
	maxCallBytes = 64 << 20
	// maxCommand is the size of the largest command. An entry, a frame and a message
	// of raft hold several.
	maxCommand = 16 << 20
	// maxBatch is how many bytes of commands travel together.
	maxBatch = 512 << 10
)

// call is one command on its way: from its caller to an answer.
type call struct {
	seq     uint64
	command []byte // encoded
	// done gets the answer, or is closed with err set.
	done chan *statepb.Result
	err  error
	// sent is the tick at which it was last handed to a leader; tries counts how
	// often. Both are 0 before the first time.
	sent  uint64
	tries int
	state callState
}

type callState uint8

const (
	waiting callState = iota // in the queue, to be sent (again)
	sent
	over // answered, or given up by its caller
)

// proposals are this node's commands that are under way, in the order of their
// sequence numbers (S8). Callers add to them, the loop sends and answers them.
type proposals struct {
	mu sync.Mutex // guards all below

	// registration
	proposer    uint64 // 0: not registered (again) yet
	incarnation uint64
	// retiring: this registration is to be replaced as soon as all that was sent under
	// it is answered. What was not sent yet waits for the next one.
	retiring bool

	// calls holds those with the numbers low, low+1 and so on.
	low    uint64
	calls  []*call
	head   int // calls[head] has the number low
	queue  []*call
	bytes  int
	closed error
}

// add numbers and queues a command. command must have room for its number at the
// end: protobuf does not mind the order of fields.
func (p *proposals) add(command []byte) (*call, error) {
	c := &call{done: make(chan *statepb.Result, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed != nil:
		return nil, p.closed
	case len(p.calls)-p.head >= maxCalls:
		return nil, fmt.Errorf("%w: %d calls are under way on this node", outcome.ErrOverloaded, maxCalls)
	case p.bytes+len(command) > maxCallBytes:
		return nil, fmt.Errorf("%w: %d bytes are under way on this node", outcome.ErrOverloaded, p.bytes)
	}
	c.seq = p.low + uint64(len(p.calls)-p.head)
	command = protowire.AppendTag(command, 1, protowire.VarintType)
	c.command = protowire.AppendVarint(command, c.seq)
	p.bytes += len(c.command)
	p.calls = append(p.calls, c)
	p.queue = append(p.queue, c)
	return c, nil
}

// abandon takes c back from its caller's side and tells whether it may have been
// done: whether it was ever sent.
func (p *proposals) abandon(c *call) (everSent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	everSent = c.tries > 0
	p.finish(c)
	return everSent
}

// finish marks c as over and moves the low-water mark. mu is held.
func (p *proposals) finish(c *call) {
	if c.state == over {
		return
	}
	c.state = over
	p.bytes -= len(c.command)
	c.command = nil
	p.trim()
}

// trim moves the low-water mark over the calls that are over. mu is held.
func (p *proposals) trim() {
	for p.head < len(p.calls) && p.calls[p.head].state == over {
		p.calls[p.head] = nil
		p.head++
		p.low++
	}
	if p.head > 1024 && p.head > len(p.calls)/2 {
		p.calls = append(p.calls[:0], p.calls[p.head:]...)
		p.head = 0
	}
}

// answer ends the calls that the machine has answered. It reports whether the
// machine knows this node's proposer.
func (p *proposals) answer(answers []state.Answer) (known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known = true
	for _, a := range answers {
		switch {
		case a.Registration != nil || a.Proposer != p.proposer:
		case a.Result.GetCode() == statepb.Result_UNKNOWN_PROPOSER:
			known = false
			p.end(a.Seq, a.Result)
		default:
			p.end(a.Seq, a.Result)
		}
	}
	return known
}

// end ends the call with the number seq, if it is still under way. mu is held.
func (p *proposals) end(seq uint64, result *statepb.Result) {
	if seq < p.low || seq-p.low >= uint64(len(p.calls)-p.head) {
		return
	}
	c := p.calls[p.head+int(seq-p.low)]
	if c.state == over {
		return
	}
	p.finish(c)
	c.done <- result
}

// next returns queued commands as an encoded Batch of about maxBatch bytes, or one
// command if that is larger; nil if there is nothing to send.
func (p *proposals) next(tick uint64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.DeleteFunc(p.queue, func(c *call) bool { return c.state == over }) // given up meanwhile
	if p.proposer == 0 || len(p.queue) == 0 {
		return nil
	}
	n, size := 0, 2*(1+binary.MaxVarintLen64)
	for n < p.sendable() && (n == 0 || size < maxBatch) {
		size += len(p.queue[n].command) + 1 + binary.MaxVarintLen32
		n++
	}
	if n == 0 {
		return nil
	}
	batch := appendBatchHeader(make([]byte, 0, size), p.proposer, p.low)
	for _, c := range p.queue[:n] {
		batch = protowire.AppendTag(batch, 3, protowire.BytesType)
		batch = protowire.AppendBytes(batch, c.command)
		c.state, c.sent = sent, tick
		c.tries++
	}
	p.queue = slices.Delete(p.queue, 0, n)
	return batch
}

func appendBatchHeader(dst []byte, proposer, low uint64) []byte {
	dst = protowire.AppendTag(dst, 1, protowire.VarintType)
	dst = protowire.AppendVarint(dst, proposer)
	dst = protowire.AppendTag(dst, 2, protowire.VarintType)
	return protowire.AppendVarint(dst, low)
}

// again queues what was sent at or before the given tick once more, in order.
func (p *proposals) again(before uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	requeued := false
	for _, c := range p.calls[p.head:] {
		if c.state == sent && c.sent <= before {
			c.state, requeued = waiting, true
			p.queue = append(p.queue, c)
		}
	}
	if requeued {
		slices.SortFunc(p.queue, func(a, b *call) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// oldest returns the tick at which the oldest call under way was sent.
func (p *proposals) oldest() (tick uint64, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls[p.head:] {
		if c.state == sent {
			return c.sent, true
		}
	}
	return 0, false
}

// ready returns how many commands there are to send; none without a number to send them
// under.
func (p *proposals) ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proposer == 0 {
		return 0
	}
	return p.sendable()
}

// sendable returns how many at the head of the queue may be sent under this
// registration. Those that were sent before stand first. mu is held.
func (p *proposals) sendable() int {
	if !p.retiring {
		return len(p.queue)
	}
	n := 0
	for n < len(p.queue) && p.queue[n].tries > 0 {
		n++
	}
	return n
}

// retire has this node register in a higher incarnation, as soon as nothing is under
// way any more that was sent in this one.
func (p *proposals) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retiring = true
}

// succeed ends a registration that is to be replaced, if its time has come. mu is held.
func (p *proposals) succeed() {
	if !p.retiring {
		return
	}
	for _, c := range p.calls[p.head:] {
		if c.state != over && c.tries > 0 {
			return
		}
	}
	p.retiring = false
	p.proposer = 0
	p.incarnation++
}

// registered notes the answer to a registration.
func (p *proposals) registered(r *statepb.Registration, result *statepb.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GetIncarnation() != p.incarnation || p.proposer != 0 {
		return
	}
	switch result.GetCode() {
	case statepb.Result_OK:
		p.proposer = result.GetRevision()
	case statepb.Result_STALE: // this host's clock was set back since its last start
		p.incarnation = result.GetRevision() + 1
	}
}

// registration returns the batch that registers this node, nil when it is.
func (p *proposals) registration(member uint64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.succeed(); p.proposer != 0 {
		return nil
	}
	b := &statepb.Batch{Registration: &statepb.Registration{Member: member, Incarnation: p.incarnation}}
	encoded, err := b.MarshalVT()
	if err != nil {
		return nil // cannot happen: it holds numbers only
	}
	return encoded
}

// unregister is called when the machine does not know this node's proposer any
// more. What was sent has an unknown outcome, the rest waits.
func (p *proposals) unregister() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proposer = 0
	p.incarnation++
	p.retiring = false
	for _, c := range p.calls[p.head:] {
		if c.state != over && c.tries > 0 {
			c.err = fmt.Errorf("%w: another process has registered as this node", outcome.ErrUnknown)
			p.fail(c)
		}
	}
	p.trim()
}

// fail ends c, whose err is set. mu is held.
func (p *proposals) fail(c *call) {
	c.state = over
	p.bytes -= len(c.command)
	c.command = nil
	close(c.done)
}

// close ends all calls with err; there will be no others.
func (p *proposals) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return
	}
	p.closed = err
	for _, c := range p.calls[p.head:] {
		if c.state != over {
			c.err = err
			p.fail(c)
		}
	}
	p.calls, p.head, p.queue = nil, 0, nil
}

// Propose submits one command and returns its result once this node has applied
// it. It is repeated across changes of leader without being done twice (S8), and
// blocks until there is a result, ctx ends or the replica does.
//
// Errors are *outcome.Error: ErrOverloaded, ErrNoQuorum around ctx's cause while
// there is no leader, ctx's cause, ErrClosed, ErrStateLost. Their outcome is
// Unknown if the command was sent to a leader, else NotDone. What the machine
// itself refuses is in the result's code. The result is read-only.
func (r *Replica) Propose(ctx context.Context, cmd *statepb.Command) (*statepb.Result, error) {
	p, err := r.Submit(ctx, cmd)
	if err != nil {
		return nil, err
	}
	result, _, err := p.Answer(context.Background())
	return result, err
}

// Proposal is a command under way, between Submit and its answer. It is for those who must
// not take a command back only because their caller has gone. It is not safe for concurrent
// use.
type Proposal struct {
	replica *Replica
	call    *call
	lasting context.Context
}

// Submit begins what Propose does, and does not wait. When lasting ends before there is an
// answer the command is taken back, as Propose does when its ctx ends; whoever calls Submit
// asks for the answer until it is known. Errors are those of Propose that come before
// anything is sent. Nothing of cmd is kept.
func (r *Replica) Submit(lasting context.Context, cmd *statepb.Command) (*Proposal, error) {
	if lasting.Err() != nil {
		return nil, r.failed(context.Cause(lasting), outcome.NotDone)
	}
	size := cmd.SizeVT()
	if size > maxCommand {
		return nil, r.failed(fmt.Errorf("%w: the command has %d bytes, %d is the most", outcome.ErrTooLarge, size, maxCommand), outcome.NotDone)
	}
	command := make([]byte, size, size+1+10)
	if _, err := cmd.MarshalToSizedBufferVT(command); err != nil {
		return nil, r.failed(err, outcome.NotDone)
	}
	c, err := r.proposals.add(command)
	if err != nil {
		return nil, r.failed(err, outcome.NotDone)
	}
	r.inbox.wake()
	return &Proposal{r, c, lasting}, nil
}

// Answer blocks until there is an answer, which is Propose's then, or until ctx ends: then
// it is not known, the command stays under way, and Answer can be called again.
func (p *Proposal) Answer(ctx context.Context) (result *statepb.Result, known bool, err error) {
	select {
	case result, ok := <-p.call.done:
		result, err := p.replica.concluded(p.call, result, ok)
		return result, true, err
	case <-ctx.Done():
		return nil, false, nil
	case <-p.lasting.Done():
		result, err := p.takeBack()
		return result, true, err
	}
}

func (p *Proposal) takeBack() (*statepb.Result, error) {
	r := p.replica
	everSent := r.proposals.abandon(p.call)
	select { // it was answered in this very moment
	case result, ok := <-p.call.done:
		return r.concluded(p.call, result, ok)
	default:
	}
	what := outcome.NotDone
	if everSent {
		what = outcome.Unknown
	}
	return nil, r.failed(r.tooLate(p.lasting), what)
}

// concluded turns the end of a call into what Propose returns.
func (r *Replica) concluded(c *call, result *statepb.Result, ok bool) (*statepb.Result, error) {
	if !ok {
		what := outcome.NotDone
		if c.tries > 0 {
			what = outcome.Unknown
		}
		return nil, r.failed(c.err, what)
	}
	switch result.GetCode() {
	case statepb.Result_SPENT, statepb.Result_OVERRUN, statepb.Result_UNKNOWN_PROPOSER:
		what := outcome.NotDone
		if c.tries > 1 { // an earlier attempt may have been applied, and its answer forgotten
			what = outcome.Unknown
		}
		return nil, r.failed(fmt.Errorf("the cluster refused the command's number (%v)", result.GetCode()), what)
	}
	return result, nil
}
