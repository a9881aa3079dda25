package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kith-go/kith/internal/state/statepb"
)

// maxPart is how large one part of a snapshot may be. The largest are a value, a set
// of answers to gets, and the cluster with its list of peers.
const maxPart = 32 << 20

// Restore reads a snapshot to its end and returns the machine that it is of. r's length is not
// trusted: memory is set aside for what has come, not for what is announced.
//
// Errors: *CorruptError if it is cut off, damaged or not a snapshot, or r fails;
// *UnintelligibleError if a newer release wrote it.
func Restore(r io.Reader) (*Machine, error) {
	s := &restoration{
		parts: partReader{r: bufio.NewReaderSize(r, 64<<10)},
		m:     New(),
	}
	for s.stage != trailerStage {
		if err := s.next(); err != nil {
			return nil, s.describe(err)
		}
	}
	if err := s.finish(); err != nil {
		return nil, s.describe(err)
	}
	return s.m, nil
}

// restoration is a machine that is being restored, and where in the stream that is.
type restoration struct {
	parts partReader
	m     *Machine
	stage stage

	// what the parts so far ended with, to see that the next ones follow
	key    string
	event  string
	queue  *queue
	tokens map[uint64]bool
	from   *proposer
	seq    uint64 // of its last answer
	last   uint64 // revision of the last change

	leaf statepb.Item // decoded into again and again
}

// stage is the place of a part in the stream.
type stage int

const (
	startStage stage = iota
	headerStage
	clusterStage
	sessionStage
	itemStage
	queueStage
	eventStage
	proposerStage
	changeStage
	trailerStage
)

// stages gives each part's stage by its field number. Parts in one stage may mix.
var stages = [...]stage{
	1: headerStage, 2: clusterStage, 3: sessionStage, 4: itemStage, 5: queueStage, 6: queueStage,
	7: eventStage, 8: proposerStage, 9: proposerStage, 10: changeStage, 11: trailerStage,
}

// errUnknown marks what a newer release may have meant well.
var errUnknown = errors.New("not known to this release")

func (s *restoration) describe(err error) error {
	if errors.Is(err, errUnknown) {
		return &UnintelligibleError{Index: s.m.index, Err: err}
	}
	return &CorruptError{Offset: s.parts.offset, Err: err}
}

// next takes one part.
func (s *restoration) next() error {
	data, err := s.parts.next()
	if err != nil {
		return err
	}
	f := fields{rest: data}
	if !f.next() || len(f.rest) > 0 || f.tag&7 != length {
		return errors.New("not one part")
	}
	number := f.tag >> 3
	if number >= uint64(len(stages)) {
		return fmt.Errorf("part %d: %w", number, errUnknown)
	}
	was := s.stage
	s.stage = stages[number]
	switch once := s.stage == headerStage || s.stage == clusterStage; {
	case s.stage < was, s.stage == was && once:
		return fmt.Errorf("part %d is out of order", number)
	case s.stage > clusterStage && was < clusterStage, s.stage > headerStage && was < headerStage:
		return fmt.Errorf("part %d comes before the header and the cluster", number)
	}
	return s.part(number, f.bytes)
}

// message is one that vtprotobuf has made code for.
type message interface {
	proto.Message
	UnmarshalVT([]byte) error
	UnmarshalVTUnsafe([]byte) error
}

// read decodes a part and gives it to take, which may keep what is in it.
func read[M message](data []byte, part M, take func(M) error) error {
	if err := part.UnmarshalVT(data); err != nil {
		return err
	}
	if statepb.HasUnknown(part) {
		return fmt.Errorf("a field of %s: %w", part.ProtoReflect().Descriptor().Name(), errUnknown)
	}
	return take(part)
}

// part takes one part by its field number in statepb.Snapshot.
func (s *restoration) part(number uint64, data []byte) error {
	switch number {
	case 1:
		return read(data, new(statepb.Header), s.header)
	case 2:
		return read(data, new(statepb.Cluster), s.cluster)
	case 3:
		return read(data, new(statepb.Session), s.session)
	case 4:
		s.leaf.Reset()
		return read(data, &s.leaf, s.item)
	case 5:
		return read(data, new(statepb.Queue), s.addQueue)
	case 6:
		return read(data, new(statepb.Slot), s.slot)
	case 7:
		return read(data, new(statepb.Event), s.addEvent)
	case 8:
		return read(data, new(statepb.Proposer), s.proposer)
	case 9:
		return read(data, new(statepb.Answer), s.answer)
	case 10:
		return read(data, new(statepb.Change), s.change)
	}
	return read(data, new(statepb.Trailer), s.trailer)
}

// finish checks what only the end shows.
func (s *restoration) finish() error {
	if _, err := s.parts.r.ReadByte(); err == nil {
		return errors.New("something follows the trailer")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// partReader reads parts, each after its length.
type partReader struct {
	r      *bufio.Reader
	buf    []byte
	offset int64 // of the part last begun
	end    int64 // of what has been read
	parts  uint64
}

// firstRead is how much memory a part gets before any of it has come.
const firstRead = 64 << 10

// next returns the next part, valid until the one after.
func (p *partReader) next() ([]byte, error) {
	p.offset = p.end
	size, err := binary.ReadUvarint(p)
	if err != nil {
		return nil, cutOff(err)
	}
	if size > maxPart {
		return nil, fmt.Errorf("a part of %d bytes: at most %d", size, maxPart)
	}
	p.buf = p.buf[:0]
	for n := int(size); len(p.buf) < n; {
		have := len(p.buf)
		p.buf = slices.Grow(p.buf, min(n-have, max(have, firstRead)))
		p.buf = p.buf[:min(n, cap(p.buf))]
		if _, err := io.ReadFull(p.r, p.buf[have:]); err != nil {
			return nil, cutOff(err)
		}
	}
	p.end += int64(size)
	p.parts++
	return p.buf, nil
}

// ReadByte reads a byte of a length.
func (p *partReader) ReadByte() (byte, error) {
	b, err := p.r.ReadByte()
	if err == nil {
		p.end++
	}
	return b, err
}

// cutOff says that the end came too early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
