package planted

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// catchers names, for each deliberate bug, the package and the tests that must fail
// while it is in force, and only then.
var catchers = []struct {
	bug  Kind
	pkg  string
	run  string
	args []string
}{
	{SkipSync, ".", "^TestAllLosePower$", nil},
	{ReadLocally, ".", "^TestNoStaleReadsAtADeposedLeader$", nil},
	{LeaseRead, ".", "^TestNoStaleReadsAtADeposedLeader$", nil},
	{ApplyTwice, ".", "^TestStorm$", []string{"-storm.seeds", "10"}},
	{ForgetVote, "./internal/consensus", "^TestOneVotePerTerm$", nil},
	{ReuseReadContext, "./internal/consensus", "^TestLateAnswerToALostRound$", nil},
	{DropChange, ".", "^TestStorm$", []string{"-storm.seeds", "5"}},
	{RenewAlone, ".", "^TestHolderStopsFirst$", nil},
	{GrantEarly, ".", "^TestSilentLockHolder$", nil},
	{ExpireDeposed, "./internal/state", "^TestTimeNamesItsTerm$", nil},
	{TokenReused, ".", "^TestStorm$", []string{"-storm.seeds", "1"}},
	{WaiterForgotten, ".", "^TestStorm$", []string{"-storm.seeds", "1"}},
}

// TestEachBugIsCaught proves that the checkers bite: it builds the tests with the
// deliberate bugs, runs those that must notice with none in force, and then with
// each.
func TestEachBugIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two test binaries; run without -short")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	binaries := make(map[string]string)
	for _, c := range catchers {
		if binaries[c.pkg] == "" {
			binaries[c.pkg] = build(t, root, c.pkg)
		}
	}
	for _, c := range catchers {
		t.Run(string(c.bug), func(t *testing.T) {
			args := append([]string{"-test.run", c.run}, c.args...)
			dir := filepath.Join(root, c.pkg)
			if out, err := execute(t, dir, binaries[c.pkg], "", args); err != nil || strings.Contains(out, "no tests to run") {
				t.Fatalf("%s does not pass without the bug: %v\n%s", c.run, err, tail(out))
			}
			if out, err := execute(t, dir, binaries[c.pkg], c.bug, args); err == nil {
				t.Errorf("%s did not notice\n%s", c.run, tail(out))
			}
		})
	}
}

func build(t *testing.T, root, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "planted.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "planted", "-o", binary, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return binary
}

func execute(t *testing.T, dir, binary string, bug Kind, args []string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KITH_PLANTED="+string(bug))
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%v took too long\n%s", cmd, tail(string(out)))
	}
	return string(out), err
}

func tail(out string) string {
	const most = 4000
	if len(out) > most {
		return "…" + out[len(out)-most:]
	}
	return out
}
