// Package leak checks, at the end of a package's tests, that no goroutine is
// left.
package leak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience covers the slowest goroutine that ends by itself: memberlist does not
// wait for a probe under way when it is shut down, and a probe of a node that
// knows itself to be slow takes up to eight probe intervals.
const patience = 15 * time.Second

// Main runs the tests of m and exits. When they pass, all goroutines but those
// of the testing package must end within a while.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		code = check()
	}
	os.Exit(code)
}

func check() int {
	deadline := time.Now().Add(patience)
	for {
		err := goleak.Find()
		if err == nil {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines are left after the tests: %v\n", err)
			return 1
		}
	}
}
