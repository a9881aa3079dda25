//go:build cgo && unix && !kith_nozmq

package zmq

/*
#cgo pkg-config: libzmq
#cgo noescape kith_receive
#cgo nocallback kith_receive
#cgo noescape kith_send
#cgo nocallback kith_send
#include <errno.h>
#include <string.h>
#include <zmq.h>

// kith_part is one part of a message.
typedef struct {
	zmq_msg_t message; // holds the part if it is open
	size_t size;
	char begins, open, minded;
} kith_part;

// kith_receive takes whole messages until there are no more, messages or bytes are enough,
// or room runs out. Small parts go to room, one behind the other; the others stay open, as does a
// second part that begins with a byte below mind, or with also. What a message has beyond
// most parts is dropped. It returns the number of parts; more tells whether there may be
// more messages.
static int kith_receive(void *socket, kith_part *parts, int messages, int most,
	char *room, size_t left, size_t small, size_t bytes, int mind, int also, int *more)
{
	int n = 0;
	size_t taken = 0;
	for (*more = 1; messages > 0 && taken < bytes && left >= small; messages--) {
		int of_this = 0, follows = 1;
		while (follows) {
			zmq_msg_t surplus;
			int kept = of_this < most, got;
			zmq_msg_t *message = kept ? &parts[n].message : &surplus;
			zmq_msg_init(message);
			do
				got = zmq_msg_recv(message, socket, ZMQ_DONTWAIT);
			while (got < 0 && errno == EINTR);
			if (got < 0) {
				zmq_msg_close(message);
				*more = 0;
				return n;
			}
			follows = zmq_msg_more(message);
			if (!kept) {
				zmq_msg_close(message);
				continue;
			}
			kith_part *p = &parts[n++];
			const unsigned char *data = zmq_msg_data(message);
			p->size = zmq_msg_size(message);
			p->begins = of_this++ == 0;
			p->minded = of_this == 2 && p->size > 0 && (data[0] < mind || data[0] == also);
			p->open = p->minded || p->size > left || p->size >= small;
			taken += p->size + 1;
			if (!p->open) {
				memcpy(room, data, p->size);
				room += p->size;
				left -= p->size;
				zmq_msg_close(message);
			}
		}
	}
	return n;
}

static int kith_send_part(void *socket, const char *data, size_t size, int flags)
{
	int sent;
	do
		sent = zmq_send(socket, data, size, flags);
	while (sent < 0 && errno == EINTR); // Go's runtime sends signals to its threads
	return sent;
}

// kith_send sends a message of one to three parts, those with an address, and returns 0
// or an errno. If events is not NULL it then reads the socket's.
static int kith_send(void *socket, const char *route, size_t routes, const char *first, size_t firsts,
	const char *body, size_t bodies, int two, int *events)
{
	int failed = 0, sent = 0;
	if (route != NULL)
		sent = kith_send_part(socket, route, routes, ZMQ_DONTWAIT | ZMQ_SNDMORE);
	if (sent >= 0)
		sent = kith_send_part(socket, first, firsts, ZMQ_DONTWAIT | (two ? ZMQ_SNDMORE : 0));
	if (sent >= 0 && two)
		sent = kith_send_part(socket, body, bodies, ZMQ_DONTWAIT);
	if (sent < 0)
		failed = errno;
	if (events != NULL) {
		size_t size = sizeof *events;
		if (zmq_getsockopt(socket, ZMQ_EVENTS, events, &size) != 0)
			*events = ZMQ_POLLIN; // better looked after in vain
	}
	return failed;
}
*/
import "C"

import (
	"errors"
	"reflect"
	"unsafe"

	libzmq "github.com/pebbe/zmq4"
)

// pebbe's calls take one part each, and make memory for each that they receive. The two
// functions above take a message, or all messages that are there, with one call into C.
// They need the socket itself, which pebbe/zmq4 keeps in an unexported field.

// rawSocket is a socket as libzmq knows it.
type rawSocket unsafe.Pointer

var errBinding = errors.New("zmq: this version of pebbe/zmq4 keeps its socket elsewhere")

// socketOf returns libzmq's socket.
func socketOf(z *libzmq.Socket) (rawSocket, error) {
	field := reflect.ValueOf(z).Elem().FieldByName("soc")
	if field.Kind() != reflect.UnsafePointer {
		return nil, errBinding
	}
	return rawSocket(field.UnsafePointer()), nil
}

const (
	// mostParts are those of any message: where it came from, a first frame, a body.
	mostParts = 3
	// roomSize is for the small parts of a turn, those below ownFrameFrom. The others are
	// copied on their own, once, and belong to who gets them.
	roomSize = 64 << 10
)

// inbox is what one turn of a receiver takes from a socket.
type inbox struct {
	parts  [turnMessages * mostParts]C.kith_part
	n      int  // parts
	next   int  // the part that Go has not looked at
	asking bool // of a minded part, more is to be told
	offset int  // of its bytes in room, if they are there
	room   [roomSize]byte
}

// fill takes messages from a socket whose mutex is held. It reports whether there may be
// more. On a ROUTER, mind leaves the messages open of which more must be known.
func (in *inbox) fill(socket rawSocket, most int, mind bool) (more bool) {
	below, also := C.int(0), C.int(-1)
	if mind {
		below, also = ownFrames, frameHello
	}
	var again C.int
	n := C.kith_receive(unsafe.Pointer(socket), &in.parts[0], turnMessages, C.int(most),
		(*C.char)(unsafe.Pointer(&in.room[0])), roomSize, ownFrameFrom, turnBytes, below, also, &again)
	in.n, in.next, in.offset = int(n), 0, 0
	return again != 0
}

// done tells that no message is left in the inbox.
func (in *inbox) done() bool { return in.next == in.n }

// take returns the next part of the message, if it has one more or, with begins, of the
// next message.
func (in *inbox) take(begins bool) (p part, ok bool) {
	if in.done() || (in.parts[in.next].begins != 0) != begins {
		return part{}, false
	}
	c := &in.parts[in.next]
	in.next++
	size := int(c.size)
	if c.open == 0 {
		p.data = in.room[in.offset : in.offset+size : in.offset+size]
		in.offset += size
		return p, true
	}
	return in.copy(c, size), true
}

// clear closes what was not taken.
func (in *inbox) clear() {
	for ; !in.done(); in.next++ {
		if c := &in.parts[in.next]; c.open != 0 {
			C.zmq_msg_close(&c.message)
		}
	}
}

// copy makes an open part Go's, and closes it.
func (in *inbox) copy(c *C.kith_part, size int) (p part) {
	defer C.zmq_msg_close(&c.message)
	p.own = true
	p.data = append([]byte{}, unsafe.Slice((*byte)(C.zmq_msg_data(&c.message)), size)...)
	if in.asking && c.minded != 0 {
		p.user, p.from = about(c, "User-Id\x00"), about(c, "Peer-Address\x00")
	}
	return p
}

// about returns a property of the connection along which a part came; the name ends in a
// zero byte.
func about(c *C.kith_part, name string) string {
	value := C.zmq_msg_gets(&c.message, (*C.char)(unsafe.Pointer(unsafe.StringData(name))))
	if value == nil {
		return ""
	}
	return C.GoString(value)
}

// chars is b for C. It is no unsafe.Pointer, for which cgo would look through all of the
// object that b is a part of, and refuse one that has pointers elsewhere.
func chars(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

// sendMessage sends a message, whole or not at all. With look it also reports whether the
// socket has something to receive.
func sendMessage(socket rawSocket, route []byte, m *message, look bool) (receivable bool, err error) {
	var events C.int
	at := &events
	if !look {
		at = nil
	}
	two := C.int(0)
	if m.two {
		two = 1
	}
	failed := C.kith_send(unsafe.Pointer(socket), chars(route), C.size_t(len(route)),
		chars(m.first), C.size_t(len(m.first)), chars(m.body), C.size_t(len(m.body)), two, at)
	if failed != 0 {
		err = libzmq.Errno(failed)
	}
	return events&C.ZMQ_POLLIN != 0, err
}
