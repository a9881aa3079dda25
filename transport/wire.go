package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"unicode/utf8"
)

// A packet's head, in network byte order; docs/wire.md tells it to other languages:
//
//	offset  bytes
//	     0      1  kind
//	     1      1  reserved: 0 when sent, ignored when received
//	     2      8  id
//	    10      4  value: milliseconds left, credit or status, by kind
//	    14      2  length of the subject
//	    16      n  subject
//	     …         headers until the head ends: length (2), name, length (2), value
const (
	fixedHead = 16
	// MaxHead is the most bytes of a packet's head: subject and headers.
	MaxHead = 16 << 10
	// MaxSubject is the most bytes of a subject, topic or prefix.
	MaxSubject = 1 << 10
)

// kind is what a packet is. Those from 128 on are the engines' own.
type kind byte

const (
	kindRequest     kind = 1 + iota // id, ms left (0: no limit), subject, headers; body
	kindReply                       // id, headers; body
	kindError                       // id, status, subject = code; body = text
	kindCancel                      // id: the caller no longer waits
	kindSend                        // subject, headers; body
	kindPublish                     // subject = topic, headers; body
	kindSubscribe                   // id, subject = prefix
	kindUnsubscribe                 // subject = prefix
	kindSubscribed                  // id: from now on
	kindLag                         // id = number of publications lost here
	kindOpen                        // id, subject, headers: begins a stream
	kindData                        // id; body
	kindEnd                         // id: no more data from this side
	kindReset                       // id, status, subject = code; body = text
	kindCredit                      // id, value = bytes that may be sent on top
)

// status is why a request or stream failed at the peer. Each settles an outcome.
type status uint32

const (
	statusHandler    status = 1 + iota // the handler returned an error: it ran
	statusPanic                        // the handler panicked: it ran in part
	statusNoHandler                    // nothing ran
	statusOverloaded                   // nothing ran
	statusExpired                      // the time was over before it could begin
	statusTooLarge                     // it ran, its reply was too large
	statusClosing                      // the node closes: nothing ran
	statusStopped                      // of a stream: the other side reads no more
	statusGaveUp                       // it ran until its time was over, and gave up
)

// Header is what travels beside a body, such as "content-type". Names and values
// are text; together with the subject they fit into MaxHead bytes. The nil Header is
// empty, and must be made before it is written to.
type Header map[string]string

const (
	// ContentType names the media type of the body.
	ContentType = "content-type"
	// Traceparent is the W3C trace context. What a handler asks of others with its own
	// context carries the one that it was called with.
	Traceparent = "traceparent"
	// Tracestate goes with Traceparent.
	Tracestate = "tracestate"
)

var errMalformed = errors.New("kith: malformed packet")

// head is a packet's head, taken apart. Its slices lie in the packet.
type head struct {
	kind    kind
	id      uint64
	value   uint32
	subject []byte
	rest    []byte // the headers, known to be well-formed
}

// appendHead appends the head of a packet to dst. The subject has been checked, the
// headers' size has not.
func appendHead(dst []byte, k kind, id uint64, value uint32, subject string, header Header) ([]byte, error) {
	start := len(dst)
	dst = append(dst, byte(k), 0)
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = binary.BigEndian.AppendUint32(dst, value)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(subject)))
	dst = append(dst, subject...)
	if len(header) > 0 {
		for _, name := range slices.Sorted(maps.Keys(header)) {
			value := header[name]
			if name == "" || len(name)+len(value) > MaxHead || !utf8.ValidString(name) || !utf8.ValidString(value) {
				return dst[:start], fmt.Errorf("header %.40q: %w", name, errHeader)
			}
			dst = appendText(appendText(dst, name), value)
		}
	}
	if len(dst)-start > MaxHead {
		return dst[:start], fmt.Errorf("%w: subject and headers are %d bytes, of at most %d", ErrTooLarge, len(dst)-start, MaxHead)
	}
	return dst, nil
}

var errHeader = errors.New("names and values are text, and names are not empty")

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// parseHead takes a head apart, and checks all of it.
func parseHead(b []byte) (head, error) {
	if len(b) < fixedHead || len(b) > MaxHead {
		return head{}, fmt.Errorf("%w: a head of %d bytes", errMalformed, len(b))
	}
	h := head{kind: kind(b[0]), id: binary.BigEndian.Uint64(b[2:]), value: binary.BigEndian.Uint32(b[10:])}
	n := int(binary.BigEndian.Uint16(b[14:]))
	b = b[fixedHead:]
	if n > len(b) || n > MaxSubject {
		return head{}, fmt.Errorf("%w: a subject of %d bytes", errMalformed, n)
	}
	h.subject, h.rest = b[:n], b[n:]
	if !utf8.Valid(h.subject) {
		return head{}, fmt.Errorf("%w: the subject is not UTF-8", errMalformed)
	}
	for rest := h.rest; len(rest) > 0; {
		var name, value []byte
		if name, rest = cutText(rest); len(name) == 0 {
			return head{}, fmt.Errorf("%w: a header without a name", errMalformed)
		}
		if value, rest = cutText(rest); rest == nil {
			return head{}, fmt.Errorf("%w: header %.40q is cut off", errMalformed, name)
		}
		if !utf8.Valid(name) || !utf8.Valid(value) {
			return head{}, fmt.Errorf("%w: header %.40q is not UTF-8", errMalformed, name)
		}
	}
	return h, nil
}

// cutText returns the text that b begins with and what follows: nil if b ends too soon.
func cutText(b []byte) (text, rest []byte) {
	if len(b) < 2 {
		return nil, nil
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, nil
	}
	return b[2:n], b[n:]
}

// header returns the headers, nil if there are none. Of a name that comes twice the
// last counts.
func (h head) header() Header {
	if len(h.rest) == 0 {
		return nil
	}
	out := Header{}
	for rest := h.rest; len(rest) > 0; {
		var name, value []byte
		name, rest = cutText(rest)
		value, rest = cutText(rest)
		out[string(name)] = string(value)
	}
	return out
}

// AppendPacket appends a packet to a bundle, which engines may use to move many
// small packets as one: the head's length in two bytes, the body's in four, then
// both.
func AppendPacket(bundle []byte, p Packet) []byte {
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(p.Head)))
	bundle = binary.BigEndian.AppendUint32(bundle, uint32(len(p.Body)))
	return append(append(bundle, p.Head...), p.Body...)
}

// Packets takes a bundle apart. The packets lie in the bundle, and cannot grow into
// one another. The last element is an error if the bundle is malformed.
func Packets(bundle []byte) iter.Seq2[Packet, error] {
	return func(yield func(Packet, error) bool) {
		for len(bundle) > 0 {
			if len(bundle) < 6 {
				yield(Packet{}, fmt.Errorf("%w: a bundle ends in a length", errMalformed))
				return
			}
			headLen, bodyLen := uint64(binary.BigEndian.Uint16(bundle)), uint64(binary.BigEndian.Uint32(bundle[2:]))
			bundle = bundle[6:]
			end := headLen + bodyLen
			if headLen == 0 || end > uint64(len(bundle)) {
				yield(Packet{}, fmt.Errorf("%w: a bundle ends in a packet", errMalformed))
				return
			}
			p := Packet{Head: bundle[:headLen:headLen], Body: bundle[headLen:end:end]}
			bundle = bundle[end:]
			if !yield(p, nil) {
				return
			}
		}
	}
}
