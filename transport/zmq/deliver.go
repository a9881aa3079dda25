package zmq

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/kith-go/kith/transport"
)

// reader gives a line the packets that come along a connection with a peer: in
// bundles, alone, or, those with large bodies, in parts.
type reader struct {
	line      transport.Line
	maxPacket int

	head []byte // of the packet of which there are only parts; nil if there is none
	body []byte // the parts; it has room for all
}

// part is one part of a message. None is the part that is not there.
type part struct {
	data []byte
	own  bool // data is the receiver's for ever; else it is lent, until the end of the turn
	// user and from tell whose key the connection was made with along which the part came,
	// and from which address, if that was asked for.
	user, from string
}

// keep returns data for who keeps it.
func (p part) keep() []byte {
	if p.own || p.data == nil {
		return p.data
	}
	kept := make([]byte, len(p.data))
	copy(kept, p.data)
	return kept
}

// take takes one message: one or two frames. The first is lent until it returns.
func (r *reader) take(first []byte, body part) error {
	if r.head != nil && first[0] != frameMore {
		return fmt.Errorf("%w: of kind %d, in the middle of a packet", errFrame, first[0])
	}
	switch first[0] {
	case frameBundle:
		return r.bundle(first[1:])
	case frameSingle:
		return r.single(first[1:], body)
	case frameMore:
		return r.more(body.data)
	default:
		return fmt.Errorf("%w: of kind %d", errFrame, first[0])
	}
}

func (r *reader) check(head []byte, size int) error {
	switch {
	case len(head) == 0 || head[0] >= ownFrames || len(head) > transport.MaxHead:
		return fmt.Errorf("%w: a head of %d bytes", errFrame, len(head))
	case size > r.maxPacket-len(head):
		return fmt.Errorf("%w: a packet of %d bytes", transport.ErrTooLarge, len(head)+size)
	}
	return nil
}

func (r *reader) bundle(bundle []byte) error {
	if len(bundle) == 0 {
		return fmt.Errorf("%w: an empty bundle", errFrame)
	}
	for p, err := range transport.Packets(bundle) {
		if err == nil {
			err = r.check(p.Head, len(p.Body))
		}
		if err != nil {
			return err
		}
		r.line.Received(p.Head, part{data: p.Body}.keep())
	}
	return nil
}

func (r *reader) single(first []byte, body part) error {
	if len(first) < 4 {
		return fmt.Errorf("%w: a packet without its size", errFrame)
	}
	size, head := int(binary.BigEndian.Uint32(first)), first[4:]
	if err := r.check(head, size); err != nil {
		return err
	}
	switch n := len(body.data); {
	case n == size:
		r.line.Received(head, body.keep())
	case n > size || n == 0:
		return fmt.Errorf("%w: %d bytes of a body of %d", errFrame, n, size)
	default:
		r.head, r.body = bytes.Clone(head), append(make([]byte, 0, size), body.data...)
	}
	return nil
}

func (r *reader) more(part []byte) error {
	if missing := cap(r.body) - len(r.body); r.head == nil || len(part) == 0 || len(part) > missing {
		return fmt.Errorf("%w: %d bytes, and %d are missing", errFrame, len(part), missing)
	}
	if r.body = append(r.body, part...); len(r.body) < cap(r.body) {
		return nil
	}
	head, body := r.head, r.body
	r.head, r.body = nil, nil
	r.line.Received(head, body)
	return nil
}
