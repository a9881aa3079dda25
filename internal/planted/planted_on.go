//go:build planted

package planted

import (
	"os"
	"strings"
	"sync"
)

// inForce are the bugs named by $KITH_PLANTED, read once.
var inForce = sync.OnceValue(func() map[Kind]bool {
	named := map[Kind]bool{}
	for name := range strings.SplitSeq(os.Getenv("KITH_PLANTED"), ",") {
		named[Kind(strings.TrimSpace(name))] = true
	}
	return named
})

// Bug reports whether the deliberate bug is in force.
func Bug(k Kind) bool { return inForce()[k] }
