package zmq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kith-go/kith/transport"
)

// The first byte of a ZeroMQ message tells what it is. Below 128 it is the head of a
// packet in the plain form, which programs outside the cluster speak; the others are
// ours. docs/wire.md has them all.
const (
	frameBundle  = 128 + iota // packets, as transport.AppendPacket writes them
	frameSingle               // size of the body, head; the body, or a first part of it, is a second frame
	frameHello                // version, incarnation, heartbeat, name, whom it is for
	frameWelcome              // version, incarnation, heartbeat, name
	frameRefusal              // reason, text
	frameBeat                 // nothing: I am here
	frameTaken                // how many bytes of packets were taken from this connection
	frameMore                 // nothing; the next part of a body is a second frame
	ownFrames    = 128
)

// wireVersion is said in hello and welcome. A later version adds behind what there
// is, or is refused.
const wireVersion = 1

// reason is why a connection was refused; it is for programs, the text for people.
type reason byte

const (
	refusedVersion   reason = 1 + iota // hello of another version
	refusedNotMe                       // the hello was for somebody else
	refusedStranger                    // not on the list of peers
	refusedIdentity                    // the name is not the one of the key
	refusedStale                       // a newer run of that name is there
	refusedUnknown                     // no hello came before, or it was forgotten
	refusedMalformed                   // not understood
	refusedCrowded                     // too many clients
)

var errFrame = errors.New("kith: malformed frame")

// greeting is what hello and welcome say. A welcome is for nobody.
type greeting struct {
	from transport.Identity
	beat time.Duration // in milliseconds on the wire
	to   string
}

func appendHello(dst []byte, g greeting) []byte {
	return appendName(appendGreeting(dst, frameHello, g), g.to)
}

func appendWelcome(dst []byte, g greeting) []byte { return appendGreeting(dst, frameWelcome, g) }

func appendGreeting(dst []byte, kind byte, g greeting) []byte {
	dst = append(dst, kind, wireVersion)
	dst = binary.BigEndian.AppendUint64(dst, g.from.Incarnation)
	dst = binary.BigEndian.AppendUint32(dst, uint32(g.beat.Milliseconds()))
	return appendName(dst, g.from.Name)
}

func appendName(dst []byte, name string) []byte {
	return append(append(dst, byte(len(name))), name...)
}

// errVersion marks a greeting of another version of the protocol.
var errVersion = errors.New("kith: another version of the wire protocol")

// parseGreeting reads a hello or a welcome. What follows is left to later versions.
func parseGreeting(frame []byte) (g greeting, err error) {
	if len(frame) < 15 || frame[0] != frameHello && frame[0] != frameWelcome {
		return greeting{}, fmt.Errorf("%w: a greeting of %d bytes", errFrame, len(frame))
	}
	if frame[1] != wireVersion {
		return greeting{}, fmt.Errorf("%w: %d, and this node speaks %d", errVersion, frame[1], wireVersion)
	}
	g.from.Incarnation = binary.BigEndian.Uint64(frame[2:])
	g.beat = time.Duration(binary.BigEndian.Uint32(frame[10:])) * time.Millisecond
	rest := frame[14:]
	if g.from.Name, rest, err = cutName(rest); err == nil && frame[0] == frameHello {
		g.to, _, err = cutName(rest)
	}
	if err != nil {
		return greeting{}, err
	}
	return g, nil
}

func cutName(b []byte) (name string, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, fmt.Errorf("%w: a greeting ends in a name", errFrame)
	}
	text := b[1 : 1+int(b[0])]
	if len(text) == 0 || !utf8.Valid(text) {
		return "", nil, fmt.Errorf("%w: the name %.40q in a greeting", errFrame, text)
	}
	return string(text), b[1+len(text):], nil
}

func appendRefusal(dst []byte, why reason, text string) []byte {
	return append(append(dst, frameRefusal, byte(why)), text...)
}

// RefusedError is the cause of a connection that the other side refused.
type RefusedError struct {
	// Text tells why, in the words of the node that refused.
	Text string
	why  reason
}

// Error tells that the peer refused, and why.
func (e *RefusedError) Error() string { return "kith: the peer refused the connection: " + e.Text }

// maxRefusal is the most of a refusal's text that is kept.
const maxRefusal = 512

func parseRefusal(frame []byte) (*RefusedError, error) {
	if len(frame) < 2 || frame[0] != frameRefusal {
		return nil, fmt.Errorf("%w: a refusal of %d bytes", errFrame, len(frame))
	}
	text := frame[2:min(len(frame), 2+maxRefusal)]
	return &RefusedError{why: reason(frame[1]), Text: strings.ToValidUTF8(string(text), "?")}, nil
}

func appendTaken(dst []byte, bytes uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, frameTaken), bytes)
}

func parseTaken(frame []byte) (bytes uint64, err error) {
	if len(frame) < 9 || frame[0] != frameTaken {
		return 0, fmt.Errorf("%w: %d bytes about what was taken", errFrame, len(frame))
	}
	return binary.BigEndian.Uint64(frame[1:]), nil
}
