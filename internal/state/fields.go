package state

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Wire types, as the low bits of a field's tag.
const (
	varint = uint64(protowire.VarintType)
	length = uint64(protowire.BytesType)
)

// fields walks over the fields of an encoded message.
type fields struct {
	rest   []byte
	tag    uint64 // number<<3 | wire type
	varint uint64
	bytes  []byte
	err    error
}

// next moves to the next field. It reports false at the end, or with err set.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.err != nil {
		return false
	}
	num, typ, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		return f.fail(n)
	}
	f.rest = f.rest[n:]
	f.tag = protowire.EncodeTag(num, typ)
	switch typ {
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(f.rest)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(f.rest)
	default:
		f.err = f.unknown("message")
		return false
	}
	if n < 0 {
		return f.fail(n)
	}
	f.rest = f.rest[n:]
	return true
}

func (f *fields) fail(n int) bool {
	f.err = protowire.ParseError(n)
	return false
}

// unknown is the error about a field that this release does not know.
func (f *fields) unknown(message string) error {
	return fmt.Errorf("unknown field %d of a %s", f.tag>>3, message)
}

// only returns the one field that a message made of a oneof has.
func only(data []byte, message string) (fields, error) {
	f := fields{rest: data}
	if f.next() && len(f.rest) == 0 {
		return f, nil
	}
	if f.err != nil {
		return f, f.err
	}
	return f, fmt.Errorf("a %s with nothing or several things in it", message)
}
