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

// take takes one message: one or two frames.
func (r *reader) take(first, body []byte) error {
	if r.head != nil && first[0] != frameMore {
		return fmt.Errorf("%w: of kind %d, in the middle of a packet", errFrame, first[0])
	}
	switch first[0] {
	case frameBundle:
		return r.bundle(first[1:])
	case frameSingle:
		return r.single(first[1:], body)
	case frameMore:
		return r.more(body)
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
	whole := len(bundle)
	for p, err := range transport.Packets(bundle) {
		if err == nil {
			err = r.check(p.Head, len(p.Body))
		}
		if err != nil {
			return err
		}
		// A body may be kept for long. It must not keep a bundle alive with it, unless
		// it is most of that.
		if len(p.Body) < whole/2 {
			p.Body = bytes.Clone(p.Body)
		}
		r.line.Received(p.Head, p.Body)
	}
	return nil
}

func (r *reader) single(first, part []byte) error {
	if len(first) < 4 {
		return fmt.Errorf("%w: a packet without its size", errFrame)
	}
	size, head := int(binary.BigEndian.Uint32(first)), first[4:]
	if err := r.check(head, size); err != nil {
		return err
	}
	switch {
	case len(part) == size:
		r.line.Received(head, part)
	case len(part) > size || len(part) == 0:
		return fmt.Errorf("%w: %d bytes of a body of %d", errFrame, len(part), size)
	default:
		r.head, r.body = head, append(make([]byte, 0, size), part...)
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
