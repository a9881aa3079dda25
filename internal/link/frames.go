package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Kind says what a frame holds. The link carries all kinds alike.
type Kind byte

const (
	// KindRaft is a batch of Raft messages.
	KindRaft Kind = 1 + iota
	// KindPropose is a batch of proposals on the way to the leader.
	KindPropose
	// KindRenew asks the leader to renew a session, KindRenewed is its answer.
	KindRenew
	KindRenewed // see KindRenew
	// KindSnapshot is a part of a snapshot, KindInstalled the answer to its end.
	KindSnapshot
	KindInstalled // see KindSnapshot
	// KindQuestion and KindAnswer are those of founding; see [Link.Ask].
	KindQuestion
	KindAnswer // see KindQuestion
	// KindCrashed is a voter's word to the leader that a node's process has died.
	KindCrashed
)

// MaxBody is the most that one frame can carry.
const MaxBody = 64 << 20

// Tag stands for a cluster in frames.
type Tag [8]byte

// TagOf returns the tag of a cluster: the first eight bytes of its ID. What is
// not a cluster's ID, such as "", has the zero tag.
func TagOf(clusterID string) Tag {
	var t Tag
	if validClusterID(clusterID) {
		hex.Decode(t[:], []byte(clusterID[:2*len(t)]))
	}
	return t
}

// Route says which cluster's member a frame comes from and which one it is for.
// It is the same for all frames that go one way on a connection, and each says it
// all the same (SAFETY.md, S2). The zero Route is for nodes without a cluster.
type Route struct {
	Tag      Tag
	From, To uint64 // Raft IDs
}

// Back is the route of the answers.
func (r Route) Back() Route { return Route{Tag: r.Tag, From: r.To, To: r.From} }

// String is for errors and logs.
func (r Route) String() string { return fmt.Sprintf("%x/%d→%d", r.Tag, r.From, r.To) }

// append encodes r.
func (r Route) append(b []byte) []byte {
	b = append(b, r.Tag[:]...)
	b = binary.AppendUvarint(b, r.From)
	return binary.AppendUvarint(b, r.To)
}

const (
	lengthSize   = 4
	minRouteSize = len(Tag{}) + 2
	maxRouteSize = len(Tag{}) + 2*binary.MaxVarintLen64
	maxHeadSize  = lengthSize + 1 + maxRouteSize
)

// What ends a connection of frames. Errors of [FrameReader.Read] wrap them.
var (
	// ErrMisdirected: a frame is not of the connection's cluster and members.
	ErrMisdirected = errors.New("link: a frame that is not for this connection")
	// ErrFrame: a frame is longer or shorter than any can be.
	ErrFrame = errors.New("link: not a frame")
)

// AppendFrame appends a frame to b. Its body is the parts one after another, at
// most MaxBody bytes.
func AppendFrame(b []byte, route Route, kind Kind, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	b = appendHead(b, route, kind, size)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// appendHead appends all of a frame that comes before its body.
func appendHead(b []byte, route Route, kind Kind, size int) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, byte(kind))
	b = route.append(b)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-lengthSize+size))
	return b
}

// FrameReader reads the frames that come from one connection. It is not safe for
// concurrent use, and reads ahead: nothing else can read from the connection.
type FrameReader struct {
	buf   *bufio.Reader
	route []byte // as each frame must have it
}

const (
	// readBuffer makes one system call of many small frames.
	readBuffer = 64 << 10
	// trusted is how much memory a claimed length alone can occupy.
	trusted = 64 << 10
)

// NewFrameReader returns a reader of frames that all must be on route.
func NewFrameReader(r io.Reader, route Route) *FrameReader {
	return &FrameReader{bufio.NewReaderSize(r, readBuffer), route.append(nil)}
}

// Read returns the next frame. It blocks until that is there whole or the
// connection fails. The caller owns body.
//
// At the end between two frames the error is io.EOF, in the midst of one
// io.ErrUnexpectedEOF. After ErrMisdirected and ErrFrame, as after any error, the
// reader is of no more use and the connection must be closed.
func (r *FrameReader) Read() (kind Kind, body []byte, err error) {
	head, err := r.buf.Peek(lengthSize)
	if err != nil {
		if len(head) > 0 {
			err = noEOF(err)
		}
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head))
	if n < int64(1+minRouteSize) || n > int64(1+maxRouteSize+MaxBody) {
		return 0, nil, fmt.Errorf("%w: its length is %d", ErrFrame, n)
	}
	if n < int64(1+len(r.route)) {
		return 0, nil, ErrMisdirected // too short for our route: it has another one
	}
	head, err = r.buf.Peek(lengthSize + 1 + len(r.route))
	if err != nil {
		return 0, nil, noEOF(err)
	}
	kind, route := Kind(head[lengthSize]), head[lengthSize+1:]
	if !bytes.Equal(route, r.route) {
		return 0, nil, fmt.Errorf("%w: its route begins with %x, the connection's is %x", ErrMisdirected, route, r.route)
	}
	r.buf.Discard(len(head))
	body, err = r.body(int(n) - 1 - len(r.route))
	return kind, body, err
}

// More reports whether more has arrived already, of one frame or several.
func (r *FrameReader) More() bool { return r.buf.Buffered() > 0 }

// body reads n bytes. A large body's memory grows with what has arrived, not with
// what was announced.
func (r *FrameReader) body(n int) ([]byte, error) {
	if n > MaxBody {
		return nil, fmt.Errorf("%w: its body has %d bytes", ErrFrame, n)
	}
	body := make([]byte, min(n, trusted))
	for have := 0; ; {
		if _, err := io.ReadFull(r.buf, body[have:]); err != nil {
			return nil, noEOF(err)
		}
		have = len(body)
		if have == n {
			return body, nil
		}
		more := make([]byte, min(n, 4*have))
		copy(more, body)
		body = more
	}
}
