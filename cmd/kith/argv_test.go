package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// toy is a command tree with every kind of flag.
func toy() *cobra.Command {
	root := &cobra.Command{Use: "toy"}
	run := func(*cobra.Command, []string) {}
	get := &cobra.Command{Use: "get", Aliases: []string{"g"}, Run: run}
	get.Flags().Int("count", 0, "")
	get.Flags().BoolP("json", "j", false, "")
	get.Flags().StringP("output", "o", "", "")
	get.Flags().BoolP("verbose", "v", false, "")
	box := &cobra.Command{Use: "box", Run: run}
	box.AddCommand(&cobra.Command{Use: "open", Run: run})
	root.AddCommand(get, box)
	return root
}

func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"get key":                       "get key",
		"get -json key":                 "get --json key",
		"get key -json":                 "get key --json",
		"get -json=false":               "get --json=false",
		"get -count 3 key":              "get --count 3 key",
		"get -count=3":                  "get --count=3",
		"get -count -3":                 "get --count -3",
		"get --count -json":             "get --count -json", // the value, however odd
		"get -o -":                      "get -o -",
		"get -o -json":                  "get -o -json",
		"get -ofile -json":              "get -ofile --json",
		"get -jo -json -json":           "get -jo -json --json",
		"get -vj":                       "get -vj",
		"get -v -j":                     "get -v -j",
		"get -":                         "get -",
		"get -5":                        "get -5",
		"get -0.5e3":                    "get -0.5e3",
		"get -- -json":                  "get -- -json",
		"get -json -- -count":           "get --json -- -count",
		"get -count --":                 "get --count --", // the value again
		"get -h":                        "get -h",
		"get -help":                     "get --help",
		"get -jsn":                      "get --jsn",
		"get -vx":                       "get --vx",
		"get -x":                        "get -x",
		"get -é":                        "get -é",
		"get ---json":                   "get ---json",
		"get --nosuch value":            "get --nosuch value",
		"-json get key":                 "get --json key",
		"-count 3 get key":              "get --count 3 key",
		"box -json open":                "box open --json",
		"-json box -count 1 open -v":    "box open --json --count 1 -v",
		"box key open":                  "box key open", // an argument ends the command's words
		"g -json":                       "g --json",
		"get get":                       "get get",
		"-- get":                        "-- get",
		"__complete get -js":            "__complete get -js",
		"__completeNoDesc get -count -": "__completeNoDesc get -count -",
	} {
		if got := strings.Join(normalise(toy(), strings.Fields(in)), " "); got != want {
			t.Errorf("normalise(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestNormaliseProgram: what stands behind the name of a program is that program's, word for
// word.
func TestNormaliseProgram(t *testing.T) {
	tree := func() *cobra.Command {
		root := toy()
		start := startsProgram(&cobra.Command{Use: "start", Run: func(*cobra.Command, []string) {}})
		start.Flags().Bool("try", false, "")
		root.AddCommand(start)
		return root
	}
	for in, want := range map[string]string{
		"start":                             "start",
		"start name":                        "start name",
		"start name -try":                   "start name --try",
		"start name prog":                   "start name -- prog",
		"start name -count 3 prog -try":     "start name --count 3 -- prog -try",
		"-count 3 start -try name prog -jo": "start --count 3 --try name -- prog -jo",
		"start name prog -- -try":           "start name -- prog -- -try",
		"start name -- prog -try":           "start name -- prog -try",
		"start -- name prog -try":           "start -- name prog -try",
		"start name - -try":                 "start name -- - -try",
		"start name get -json":              "start name -- get -json",
		"get start prog -json":              "get start prog --json",
	} {
		if got := strings.Join(normalise(tree(), strings.Fields(in)), " "); got != want {
			t.Errorf("normalise(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestFlagsAgree: a name or letter means a flag of the same kind in every
// command, which the rules for flags build on.
func TestFlagsAgree(t *testing.T) {
	kinds := map[string]string{}
	shorthands := map[string]string{}
	a := &app{}
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			kind := f.Value.Type()
			if f.NoOptDefVal != "" && kind != "bool" {
				t.Errorf("%s --%s takes a value or none, which nobody can tell apart", cmd.CommandPath(), f.Name)
			}
			if before, ok := kinds[f.Name]; ok && before != kind {
				t.Errorf("%s --%s is a %s, elsewhere a %s", cmd.CommandPath(), f.Name, kind, before)
			}
			kinds[f.Name] = kind
			if len(f.Name) < 2 {
				t.Errorf("%s --%s: a long name has two letters at least", cmd.CommandPath(), f.Name)
			}
			if f.Shorthand == "" {
				return
			}
			if before, ok := shorthands[f.Shorthand]; ok && before != f.Name {
				t.Errorf("-%s is --%s and --%s", f.Shorthand, f.Name, before)
			}
			shorthands[f.Shorthand] = f.Name
		})
	})
	for _, name := range []string{"json", "api", "watch", "force", "file"} {
		if kinds[name] == "" {
			t.Errorf("--%s is gone", name)
		}
	}
}

// FuzzNormalise: nothing is lost or made up but dashes, and what is normal stays
// so.
func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{"get -json key", "-count 3 box open -- -v", "get -o -json - -5", "get --count", "g -jo x -vv"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		once := normalise(toy(), slices.Clone(args))
		if len(once) != len(args) {
			t.Fatalf("%q became %q", args, once)
		}
		bare := func(args []string) []string {
			out := make([]string, len(args))
			for i, a := range args {
				out[i] = strings.TrimLeft(a, "-")
			}
			slices.Sort(out)
			return out
		}
		if !slices.Equal(bare(args), bare(once)) {
			t.Fatalf("%q became %q", args, once)
		}
		if twice := normalise(toy(), slices.Clone(once)); !slices.Equal(once, twice) {
			t.Fatalf("%q became %q, and that %q", args, once, twice)
		}
	})
}
