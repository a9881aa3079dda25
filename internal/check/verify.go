package check

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// T is what Verify needs of a *testing.T.
type T interface {
	Helper()
	Name() string
	Errorf(format string, args ...any)
	ArtifactDir() string
}

// Replica is what one replica holds in the end.
type Replica struct {
	Name    string
	Entries []Entry
}

// Origin says where a history comes from, so that somebody else can have it again.
type Origin struct {
	Seed uint64
	// Command reproduces the test. Empty: go test -run with the test's name.
	Command string
}

// Verify judges what h recorded until now, and what replicas hold in the end, and
// fails the test with all that is wrong. It then writes the history, and a picture of
// each violation that has one, into t.ArtifactDir (which go test keeps with
// -artifacts) and prints where, the seed, and the command that reproduces it. It
// blocks for as long as the search takes, which is bounded.
func Verify(t T, from Origin, h *History, replicas ...Replica) {
	t.Helper()
	r := h.Record()
	if err := Judge(r, replicas...); err != nil {
		t.Errorf("%v\n\nseed %d; again with: %s\n%s", err, from.Seed,
			cmp.Or(from.Command, command(t.Name())), keep(t.ArtifactDir(), r, err))
	}
}

// Judge runs all checkers over r and joins the *Violations.
func Judge(r Record, replicas ...Replica) error {
	errs := []error{Revisions(r), Linearizable(r.Operations), Watches(r), Holds(r), Lines(r)}
	for _, held := range replicas {
		errs = append(errs, Durable(r, held.Name, held.Entries))
	}
	return errors.Join(errs...)
}

// command returns how to run the test again, and keep what it writes.
func command(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return fmt.Sprintf("go test -race -count=1 -artifacts -run '%s'", strings.Join(parts, "/"))
}

// keep writes the history and the pictures into dir, and returns what is where.
func keep(dir string, r Record, err error) string {
	report := write(filepath.Join(dir, "history.txt"), func(w io.Writer) error {
		_, err := r.WriteTo(w)
		return err
	})
	for i, v := range violations(err) {
		if v.picture != nil {
			report += "\n" + write(filepath.Join(dir, fmt.Sprintf("violation-%d.html", i+1)), v.picture)
		}
	}
	return report
}

func write(path string, to func(io.Writer) error) string {
	file, err := os.Create(path)
	if err == nil {
		err = errors.Join(to(file), file.Close())
	}
	if err != nil {
		return fmt.Sprintf("not written: %v", err)
	}
	return "see " + path
}

// violations returns all that are joined in err.
func violations(err error) []*Violation {
	switch e := err.(type) {
	case *Violation:
		return []*Violation{e}
	case interface{ Unwrap() []error }:
		var all []*Violation
		for _, sub := range e.Unwrap() {
			all = append(all, violations(sub)...)
		}
		return all
	}
	return nil
}
