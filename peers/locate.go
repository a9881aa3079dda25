package peers

import (
	"bytes"
	"sort"
)

// place is a position in a text; the zero place is unknown.
type place struct{ line, column int }

// locator finds line and column of an offset in a text.
type locator struct {
	text  []byte
	lines []int // offset of the first byte of each line
}

func newLocator(text []byte) locator {
	lines := make([]int, 1, 1+bytes.Count(text, []byte("\n")))
	for i, c := range text {
		if c == '\n' {
			lines = append(lines, i+1)
		}
	}
	return locator{text, lines}
}

func (l locator) len() int { return len(l.text) }

// place returns the line and the column of an offset, both from 1. The column
// counts bytes: counting characters would be quadratic in a file of one line.
func (l locator) place(offset int) place {
	offset = max(0, min(offset, len(l.text)))
	line := sort.Search(len(l.lines), func(i int) bool { return l.lines[i] > offset }) - 1
	return place{line: line + 1, column: offset - l.lines[line] + 1}
}

// nextToken returns the offset of the next key or value at or after offset:
// what json.Decoder leaves before it are blanks, a comma or a colon.
func nextToken(text []byte, offset int) int {
	rest := bytes.TrimLeft(text[offset:], " \t\r\n,:")
	return len(text) - len(rest)
}

func (l locator) startsWith(offset int, c byte) bool {
	return offset < len(l.text) && l.text[offset] == c
}

// kind names the JSON value that begins at offset.
func (l locator) kind(offset int) string {
	if offset >= len(l.text) {
		return "nothing"
	}
	switch l.text[offset] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
