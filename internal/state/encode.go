package state

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// CheckBatch reports why a leader must not put an encoded statepb.Batch into an
// entry: it cannot be decoded, has unknown fields or commands (a newer release's),
// an empty command, or a registration beside commands. Apply would halt every node
// for it. It does not judge what Apply answers with a code. Any number of goroutines
// may call it.
func CheckBatch(data []byte) error {
	e := entry{discard: true}
	return e.batch(data)
}

// AppendEntryHeader appends the beginning of an encoded statepb.Entry to dst: the term
// in which the leader builds it, the agreed time that it proposes, and the sessions
// whose time it found to be up. Batches follow with [AppendBatch].
func AppendEntryHeader(dst []byte, term, time uint64, ended []uint64) []byte {
	if term != 0 {
		dst = protowire.AppendTag(dst, 1, protowire.VarintType)
		dst = protowire.AppendVarint(dst, term)
	}
	if time != 0 {
		dst = protowire.AppendTag(dst, 2, protowire.VarintType)
		dst = protowire.AppendVarint(dst, time)
	}
	if len(ended) > 0 {
		size := 0
		for _, id := range ended {
			size += protowire.SizeVarint(id)
		}
		dst = protowire.AppendTag(dst, 4, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(size))
		for _, id := range ended {
			dst = protowire.AppendVarint(dst, id)
		}
	}
	return dst
}

// AppendBatch appends an encoded statepb.Batch, as CheckBatch has passed it, to the
// entry in dst: what nodes sent is spliced in without being encoded again.
func AppendBatch(dst, batch []byte) []byte {
	dst = protowire.AppendTag(dst, 3, protowire.BytesType)
	return protowire.AppendBytes(dst, batch)
}
