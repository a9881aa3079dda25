//go:build unix

package proof

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/leak"
)

var (
	seeds  = flag.Int("proof.seeds", 1, "how many histories `n` TestKilledPausedRestarted makes")
	from   = flag.Uint64("proof.from", 1, "the first `seed` of TestKilledPausedRestarted")
	length = flag.Duration("proof.for", 12*time.Second, "how long each of them goes on")
	rounds = flag.Int("proof.rounds", 20, "how many leaders `n` TestStaleReadHunt stops")
)

// TestMain is also a replica's process.
func TestMain(m *testing.M) {
	if text := os.Getenv(specVariable); text != "" {
		os.Exit(serve(text, os.Stdin, os.Stdout))
	}
	leak.Main(m)
}
