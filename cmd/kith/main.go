// Command kith manages the peers file, runs a node as a process, and asks
// running nodes how they fare. "kith help" lists the commands, "kith help
// exit-codes" and "kith help flags" the rules that hold for all of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kith-go/kith"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == watchdogWord {
		os.Exit(runWatchdog())
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The first signal asks the command to end well. After it the signals mean
	// what they mean to any process, so that a second one ends it at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run executes one command line and returns its exit code. The end of ctx is
// the user's interrupt.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	out := &output{w: stdout}
	a := &app{stdin: stdin, stdout: out, stderr: stderr, getenv: getenv, terminal: isTerminal(stdout)}
	root := a.rootCommand()
	root.SetArgs(normalise(root, args))
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	switch {
	case out.err != nil && (err == nil || ok && e.err == nil || errors.Is(err, out.err)): // the answer was not said
		e = &exitError{code: exitFailed}
		if !errors.Is(out.err, syscall.EPIPE) { // whoever read has seen enough
			e.err = fmt.Errorf("standard output: %w", out.err)
		}
	case ok:
	case !a.running: // what fails before a command runs is the command line
		e = &exitError{exitUsage, err}
	case ctx.Err() != nil && errors.Is(err, kith.ErrUnknown):
		e = &exitError{exitInterrupted, fmt.Errorf("interrupted: %w", err)}
	case ctx.Err() != nil:
		e = errInterrupted
	default:
		e = &exitError{codeOf(err), err}
	}
	if e.err != nil {
		fmt.Fprintf(stderr, "kith: %s\n", clean(errorWords(e.err)))
	}
	if e.code == exitUsage {
		fmt.Fprintf(stderr, "run '%s --help' for usage\n", cmd.CommandPath())
	}
	return e.code
}

// errorWords returns the text of err without the name of the package it comes
// from, which says nothing to whoever types commands.
func errorWords(err error) string {
	text := err.Error()
	for _, name := range []string{"kith: ", "kv: ", "httpapi: ", "peers: ", "secret: "} {
		text = strings.ReplaceAll(strings.TrimPrefix(text, name), ": "+name, ": ")
	}
	return text
}

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	// terminal is set if standard output is one.
	terminal bool
	// running is set once the command line was accepted.
	running bool
}

func (a *app) rootCommand() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "kith",
		Short: "find peers, know who is alive, agree on keys, locks and leaders",
		Long: `kith turns the replicas named in a peers.json into one cluster.

A program imports the library and needs none of these commands; they edit and
check the peers file, run a node as a process of its own, show how a cluster
fares, read and write its keys, ask its peers, and run other programs on as many
replicas as wanted.`,
		Example: `  kith demo                  see it work, on this machine, in some seconds
  kith peers add alpha --ip 10.0.0.1 --port 6000
  kith agent                 run a node
  kith nodes                 who is there, who is missing
  kith set motd "good morning" && kith get motd
  kith lock backup ./backup.sh
  kith call bravo sum "1 2 3"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				a.sayVersion()
				return nil
			}
			return cmd.Help()
		},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.running = true
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(flagWords(err)) })
	root.Flags().BoolVar(&version, "version", false, "print the version of kith")
	root.AddGroup(
		&cobra.Group{ID: groupFile, Title: "Peers file:"},
		&cobra.Group{ID: groupNode, Title: "Nodes:"},
		&cobra.Group{ID: groupKeys, Title: "Keys, the same for all nodes:"},
		&cobra.Group{ID: groupOrder, Title: "Locks, and groups in strict order:"},
		&cobra.Group{ID: groupMessages, Title: "Messages between peers:"},
	)
	root.SetUsageTemplate(usageTemplate)
	root.AddCommand(
		a.peersCommand(), a.keygenCommand(),
		a.agentCommand(), a.nodesCommand(), a.statusCommand(), a.demoCommand(), a.demoWorkerCommand(),
		a.getCommand(), a.setCommand(), a.rmCommand(), a.lsCommand(), a.clearCommand(),
		a.watchCommand(), a.fireCommand(), a.txnCommand(), a.syncCommand(),
		a.lockCommand(), a.runCommand(), a.joinCommand(),
		a.ownersCommand(), a.membersCommand(), a.explainCommand(), a.breakCommand(),
		a.callCommand(), a.publishCommand(), a.subscribeCommand(), a.pingCommand(), a.infoCommand(),
		a.versionCommand(),
		exitCodesTopic(), flagsTopic(), environmentTopic(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	completion, _, _ := root.Find([]string{"completion"})
	completion.Args = noSuchCommand
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	help, _, _ := root.Find([]string{"help"})
	help.Args = func(_ *cobra.Command, args []string) error { // cobra's only grumbles
		found, rest, err := root.Find(args)
		if err != nil {
			return usageError(err)
		}
		return noSuchCommand(found, rest)
	}
	return root
}

// Groups of commands in the help of kith.
const (
	groupFile     = "file"
	groupNode     = "node"
	groupKeys     = "keys"
	groupOrder    = "order"
	groupMessages = "messages"
)

// usageTemplate is cobra's, with one line of usage, and with the exit codes.
const usageTemplate = `Usage:
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND
{{- else}}
  {{.UseLine}}
{{- end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- $cmd := .}}
{{- range .Groups}}

{{.Title}}
{{- $group := .ID}}
{{- range $cmd.Commands}}{{if and .IsAvailableCommand (eq .GroupID $group)}}
  {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableSubCommands}}

{{if .Groups}}Other commands:{{else}}Commands:{{end}}
{{- range .Commands}}{{if and .IsAvailableCommand (eq .GroupID "")}}
  {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}
{{- with index .Annotations "exit codes"}}

Exit codes: {{.}}.
{{- end}}
{{- if .HasHelpSubCommands}}

Topics:
{{- range .Commands}}{{if .IsAdditionalHelpTopicCommand}}
  {{rpad .CommandPath .CommandPathPadding}}  {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" tells more about a command.
{{- end}}
`

// flagWords says of a value that a flag cannot have which it can.
func flagWords(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	why := bad.Unwrap().Error()
	if bad.GetFlag().Value.Type() == "address" {
		return fmt.Errorf("--%s has the value %q: %s", bad.GetFlag().Name, bad.GetValue(), why)
	}
	switch bad.GetFlag().Value.Type() {
	case "uint16":
		why = "give a whole number from 1 to 65535"
	case "uint32":
		why = "give a whole number from 1 to 4294967295"
	case "revision":
		why = "give a whole number, 0 or more"
	case "bool":
		why = "give true or false, or the flag alone"
	}
	return fmt.Errorf("--%s %q: %s", bad.GetFlag().Name, bad.GetValue(), why)
}

// noSuchCommand refuses arguments of a command that only has subcommands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.ArgsLenAtDash() == 0 && subcommand(cmd, args[0]) != nil {
		return usageError(fmt.Errorf(`"--" ends the flags, so %q is no command here; leave "--" out`, args[0]))
	}
	hint := ""
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError(fmt.Errorf("there is no command %q%s", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "kith "), hint))
}

// exactArgs refuses a command line without exactly the named arguments.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError(fmt.Errorf("%s is missing", strings.Join(names[len(args):], " and ")))
		case len(args) > len(names):
			return tooMany(args[len(names)])
		}
		return nil
	}
}

// atMostOne refuses a command line with more than one argument.
func atMostOne(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return tooMany(args[1])
	}
	return nil
}

func tooMany(arg string) error {
	return usageError(fmt.Errorf("%q is one argument too many", arg))
}
