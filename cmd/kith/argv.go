package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The rules for flags, the same for every command:
//
//   - A long flag may be written with one dash or two: -json is --json. A single
//     letter is a shorthand, and shorthands may be run together, unless the
//     result is the name of a flag. What begins with a dash and a digit is left
//     alone.
//   - A flag may stand anywhere: before the command, between its words, after
//     its arguments.
//   - "--" ends the flags: what follows are arguments.
//   - "-" alone is an argument (standard input or output), and so is what
//     follows a flag that takes a value, whatever it looks like.
//
// cobra and pflag know other rules. normalise rewrites a command line into one
// that means the same to them: the words of the command first, then the rest in
// its order, long flags with two dashes.
//
// A name must therefore mean a flag of the same kind in all commands, which a
// test asserts. A command that starts another program ends the flags at that
// program's name: see startsProgram.

func flagsTopic() *cobra.Command {
	return &cobra.Command{Use: "flags", Short: "how flags are written", Long: `These rules hold for every command:

  * Long flags take one dash or two: -json is --json.
  * Values follow as -api host:port or -api=host:port.
  * Flags may stand anywhere: "kith -json nodes" is "kith nodes --json".
  * "--" ends the flags; what follows are arguments.
  * So does the name of a command for "lock" and "run" to start: all behind it is that
    command's.
  * "-" as a file name is standard input, or standard output for --output.`}
}

// spelling knows how the flags of all commands are written.
type spelling struct {
	long  map[string]bool // name → takes a value
	short map[byte]bool
}

func spellingOf(root *cobra.Command) spelling {
	s := spelling{long: map[string]bool{"help": false}, short: map[byte]bool{'h': false}}
	add := func(f *pflag.Flag) {
		takesValue := f.NoOptDefVal == ""
		s.long[f.Name] = takesValue
		if f.Shorthand != "" {
			s.short[f.Shorthand[0]] = takesValue
		}
	}
	walk(root, func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(add)
		cmd.PersistentFlags().VisitAll(add)
	})
	return s
}

// walk calls visit for cmd and everything below it.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

// flag returns arg, which begins with a dash, as pflag wants it, and whether
// the next argument is its value.
func (s spelling) flag(arg string) (spelled string, valueFollows bool) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	takesValue, known := s.long[name]
	switch {
	case strings.HasPrefix(arg, "---"): // not a flag to anybody
		return arg, false
	case strings.HasPrefix(arg, "--"):
		return arg, known && takesValue && !hasValue
	case known && len(name) > 1:
		return "-" + arg, takesValue && !hasValue
	}
	for i := 1; i < len(arg); i++ {
		takesValue, known := s.short[arg[i]]
		switch {
		case known && takesValue:
			return arg, i == len(arg)-1
		case !known && len(arg) > 2 && isLetter(arg[1]):
			return "-" + arg, false // nobody's flag: pflag is to name it whole
		case !known:
			return arg, false
		}
	}
	return arg, false
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// normalise returns args as cobra wants them; see the rules above.
func normalise(root *cobra.Command, args []string) []string {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		return args // an unfinished command line
	}
	flags := spellingOf(root)
	cmd, words, rest := root, []string{}, []string{}
	own := -1 // how many arguments may still come before those of another program; < 0: all
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return append(append(words, rest...), args[i:]...)
		case len(arg) > 1 && arg[0] == '-':
			arg, valueFollows := flags.flag(arg)
			rest = append(rest, arg)
			if valueFollows && i+1 < len(args) {
				i++
				rest = append(rest, args[i])
			}
		default:
			if sub := subcommand(cmd, arg); sub != nil {
				cmd = sub
				words = append(words, arg)
				continue
			}
			if cmd != nil { // arguments from here on
				own, cmd = programAfter(cmd), nil
			}
			if own == 0 {
				return append(append(append(words, rest...), "--"), args[i:]...)
			}
			own--
			rest = append(rest, arg)
		}
	}
	return append(words, rest...)
}

// programNote is the annotation of a command that starts another program.
const programNote = "program"

// startsProgram marks cmd as one whose second argument is the name of a program, whose
// own all arguments behind it are.
func startsProgram(cmd *cobra.Command) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[programNote] = "true"
	return cmd
}

// programAfter returns behind how many arguments of cmd the name of a program stands, -1
// if it starts none.
func programAfter(cmd *cobra.Command) int {
	if cmd.Annotations[programNote] == "" {
		return -1
	}
	return 1
}

// subcommand returns the command that name means below cmd, or nil.
func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	if cmd == nil {
		return nil
	}
	for _, sub := range cmd.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}
