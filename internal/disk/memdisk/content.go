package memdisk

import (
	"bytes"
	"slices"
)

const pageSize = 4096

// page is a part of a file. Once it is in a content it never changes, so that
// contents can share it.
type page [pageSize]byte

// content is what is in a file. Much of what tests write is zeros, and takes no
// memory: a page that is missing holds nothing else.
type content struct {
	size  int64
	pages []*page // as far as there are any; nil for zeros, and zeros behind the end
}

func (c content) clone() content {
	return content{c.size, slices.Clone(c.pages)}
}

// read copies from an offset and returns how many bytes there were.
func (c content) read(p []byte, offset int64) int {
	p = p[:max(0, min(int64(len(p)), c.size-offset))]
	for rest := p; len(rest) > 0; {
		i, start := offset/pageSize, offset%pageSize
		n := min(len(rest), int(pageSize-start))
		if i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(rest[:n], c.pages[i][start:])
		} else {
			clear(rest[:n])
		}
		rest, offset = rest[n:], offset+int64(n)
	}
	return len(p)
}

// write puts data at an offset.
func (c *content) write(offset int64, data []byte) {
	c.size = max(c.size, offset+int64(len(data)))
	for len(data) > 0 {
		i, start := offset/pageSize, offset%pageSize
		n := min(len(data), int(pageSize-start))
		if missing := int(i) + 1 - len(c.pages); missing > 0 {
			c.pages = append(c.pages, make([]*page, missing)...)
		}
		var changed page
		if old := c.pages[i]; old != nil {
			changed = *old
		}
		copy(changed[start:], data[:n])
		c.pages[i] = &changed
		data, offset = data[n:], offset+int64(n)
	}
}

// writeZeros puts zeros from one offset to another.
func (c *content) writeZeros(from, to int64) {
	c.size = max(c.size, to)
	for to = min(to, int64(len(c.pages))*pageSize); from < to; {
		i, start := from/pageSize, from%pageSize
		end := min(pageSize, start+to-from)
		if old := c.pages[i]; end-start == pageSize {
			c.pages[i] = nil
		} else if old != nil {
			changed := *old
			clear(changed[start:end])
			c.pages[i] = &changed
		}
		from += end - start
	}
}

// resize cuts the content, or lengthens it with zeros.
func (c *content) resize(size int64) {
	if size < c.size {
		c.writeZeros(size, c.size)
	}
	c.size = size
	if n := (size + pageSize - 1) / pageSize; n < int64(len(c.pages)) {
		c.pages = c.pages[:n]
	}
}

func allZero(p []byte) bool {
	var zeros page
	for chunk := range slices.Chunk(p, pageSize) {
		if !bytes.Equal(chunk, zeros[:len(chunk)]) {
			return false
		}
	}
	return true
}
