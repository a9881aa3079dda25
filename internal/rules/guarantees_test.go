package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuaranteesAreShown: every test that docs/guarantees.md names exists.
func TestGuaranteesAreShown(t *testing.T) {
	text, err := os.ReadFile("../../docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/]+)\\s+((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 50 {
		t.Fatalf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if m[2] == "TestName" { // the explanation
			continue
		}
		dir := filepath.Join("../..", m[1])
		if m[1] == "kith" {
			dir = "../.."
		}
		if !declares(t, dir, "func "+m[2]+"(") {
			t.Errorf("there is no %s in %s", m[2], m[1])
		}
	}
}

func declares(t *testing.T, dir, declaration string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), declaration) {
			return true
		}
	}
	return false
}
