//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package disk

import (
	"errors"
	"os"
	"strings"
)

// isFull goes by the words: the systems left over here have no common number.
func isFull(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no space left")
}

// lock refuses: a lock that outlives its process, or that a second node of this
// process passes by, would be worse than none.
func lock(*os.File) error { return errors.ErrUnsupported }
