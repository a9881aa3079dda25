package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kith-go/kith/peers"
)

func (a *app) peersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "peers",
		GroupID: groupFile,
		Short:   "show, check and edit the peers file",
		Long: `Shows, checks and edits the peers file: the JSON list of the replicas that should
exist. Running nodes follow every change of it.`,
		Example: `  kith peers add alpha --ip 10.0.0.1 --port 6000
  kith peers validate
  kith peers show`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.peersPathCommand(), a.peersShowCommand(), a.peersValidateCommand(),
		a.peersDiffCommand(), a.peersSyncCommand(), a.peersAddCommand(), a.peersRemoveCommand())
	return exits(cmd)
}

// stdinName is how errors call standard input.
const stdinName = "standard input"

// loadPeers reads the list at path; "-" is standard input, "" the file that a
// node would use.
func (a *app) loadPeers(ctx context.Context, path string) (*peers.Peers, error) {
	switch path {
	case "-":
		return a.readPeers(ctx)
	case "":
		found, err := peers.Find()
		if err != nil {
			return nil, noFileHint(err)
		}
		path = found
	}
	list, err := peers.LoadFrom(path)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// readPeers reads a list from standard input, until ctx is done.
func (a *app) readPeers(ctx context.Context) (*peers.Peers, error) {
	text, err := a.readInput(ctx, peers.MaxFileSize)
	if err != nil {
		return nil, err
	}
	if len(text) > peers.MaxFileSize {
		return nil, fmt.Errorf("%s is %w", stdinName, peers.ErrTooLarge)
	}
	list := new(peers.Peers)
	if err := list.UnmarshalJSON(text); err != nil {
		return nil, at(stdinName, err)
	}
	return list, nil
}

// readInput reads standard input, until ctx is done; what it has beyond limit is one
// byte more.
func (a *app) readInput(ctx context.Context, limit int64) (text []byte, err error) {
	read := make(chan struct{})
	go func() { // left behind when ctx ends first; the process ends then, too
		defer close(read)
		text, err = io.ReadAll(io.LimitReader(a.stdin, limit+1))
	}()
	select {
	case <-read:
	case <-ctx.Done():
		return nil, errInterrupted
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", stdinName, err)
	}
	return text, nil
}

// at puts the name of a list into an error that does not know it.
func at(name string, err error) error {
	if invalid, ok := errors.AsType[*peers.InvalidError](err); ok && invalid.Path == "" {
		named := *invalid
		named.Path = name
		return &named
	}
	return err
}

// noFileHint says what to do when there is no peers file at all.
func noFileHint(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w\nmake one with: kith peers add NAME --ip ADDRESS --port PORT", err)
	}
	return err
}

// pathEntry is a place where the peers file is looked for.
type pathEntry struct {
	Path   string `json:"path"`
	Exists bool   `json:"exists"`
	InUse  bool   `json:"in_use"`
}

func (a *app) peersPathCommand() *cobra.Command {
	var verbose, asJSON bool
	cmd := &cobra.Command{
		Use:   "path",
		Short: "print which peers file a node would use",
		Long: `Prints the peers file that a node started here would use; --verbose lists all
places where it is looked for, most important first. Fails when there is none.`,
		Example: `  kith peers path
  kith peers path --verbose
  $EDITOR "$(kith peers path)"`,
		Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			found, err := peers.Find()
			places := []pathEntry{}
			for _, path := range peers.SearchPaths() {
				_, statErr := os.Stat(path)
				places = append(places, pathEntry{Path: path, Exists: statErr == nil, InUse: path == found})
			}
			switch {
			case asJSON:
				if jsonErr := a.printJSON(map[string]any{
					"path": found, "search": places,
				}); jsonErr != nil {
					return jsonErr
				}
			case verbose:
				a.print(placesTable(places))
			case err == nil:
				a.say("%s", found)
			}
			if err != nil {
				return noFileHint(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every place, and which exist")
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd, exitFailed)
}

func placesTable(places []pathEntry) *table {
	t := newTable()
	for _, p := range places {
		word := cell{"-", faint}
		switch {
		case p.InUse:
			word = cell{"in use", good}
		case p.Exists:
			word = cell{"exists", plain}
		}
		t.add(word, p.Path)
	}
	return t
}

func (a *app) peersShowCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show [FILE]",
		Aliases: []string{"list"},
		Short:   "show the list of peers",
		Long: `Shows the peers of FILE, by default of the file that a node would use, sorted by
PID. CONTROL is the port of gossip and consensus, PORT that of messages. With
--json it prints the list as it would be written to a file.`,
		Example: `  kith peers show
  kith peers show other.json --json
  curl -s https://config.example/peers.json | kith peers show -`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := onlyFile(args, file)
			if err != nil {
				return err
			}
			list, err := a.loadPeers(cmd.Context(), path)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(list)
			}
			a.print(peersTable(list))
			if len(list.Peers) == 0 {
				a.note("the list is empty")
			}
			return nil
		},
	}
	fileFlag(cmd.Flags(), &file)
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

// onlyFile returns the file that the argument or --file names, "" for none.
func onlyFile(args []string, file string) (string, error) {
	switch {
	case len(args) == 0:
		return file, nil
	case file != "" && file != args[0]:
		return "", usageError(fmt.Errorf("%s and --file %s are two files; give one", args[0], file))
	}
	return args[0], nil
}

func fileFlag(f *pflag.FlagSet, file *string) {
	f.StringVarP(file, "file", "f", "", "the same as the argument `file`")
}

// peersTable draws a list of peers.
func peersTable(list *peers.Peers) *table {
	t := newTable("PID", "NAME", "ADDRESS", "PORT", "CONTROL", "HOST", "DESCRIPTION")
	for _, p := range list.Sorted() {
		host := p.Hostname
		if p.IsLocal() {
			host += " (here)"
		}
		control := "-"
		if p.Control() != 0 {
			control = fmt.Sprint(p.Control())
		}
		t.add(p.PID, p.Name, orDash(p.Host()), p.Port, control, orDash(host), p.Description)
	}
	return t
}

// verdict is what kith peers validate finds.
type verdict struct {
	Path     string        `json:"path"`
	Valid    bool          `json:"valid"`
	Peers    int           `json:"peers"`
	Faults   []peers.Fault `json:"faults"`
	Warnings []peers.Fault `json:"warnings"`
}

func (a *app) peersValidateCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "check a peers file, naming every fault",
		Long: `Checks FILE, by default the file that a node would use, and prints every fault at
once, one a line, as file:line:column. Warnings are what is odd but accepted; they
do not make a file invalid. Ends with code 5 when there is a fault.`,
		Example: `  kith peers validate
  kith peers validate new.json && mv new.json /etc/kith/peers.json
  kith peers validate - < new.json`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := onlyFile(args, file)
			if err != nil {
				return err
			}
			v, err := a.judge(cmd.Context(), path)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(v)
			} else {
				a.tellVerdict(v)
			}
			if err == nil && !v.Valid {
				err = &exitError{code: exitInvalid}
			}
			return err
		},
	}
	fileFlag(cmd.Flags(), &file)
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

// judge validates the list at path. The error is for a list that cannot be had.
func (a *app) judge(ctx context.Context, path string) (verdict, error) {
	v := verdict{Path: path, Faults: []peers.Fault{}, Warnings: []peers.Fault{}}
	list, err := a.loadPeers(ctx, path)
	if err == nil {
		v.Path, v.Peers = list.Source(), len(list.Peers)
		v.Warnings = append(v.Warnings, list.Warnings()...)
		err = list.Validate()
	}
	invalid, ok := errors.AsType[*peers.InvalidError](err)
	if err != nil && !ok {
		return verdict{}, err
	}
	if ok {
		v.Path = cmp.Or(v.Path, invalid.Path)
		v.Faults = append(v.Faults, invalid.Faults...)
	}
	if path == "-" {
		v.Path = stdinName
	}
	v.Valid = len(v.Faults) == 0
	return v, nil
}

func (a *app) tellVerdict(v verdict) {
	for _, f := range v.Faults {
		a.say("%s", placed(v.Path, f))
	}
	for _, w := range v.Warnings {
		a.say("%s", strings.Replace(placed(v.Path, w), ": ", ": warning: ", 1))
	}
	verdict := "is valid"
	if !v.Valid {
		verdict = "is invalid: " + count(len(v.Faults), "fault")
	}
	if len(v.Warnings) > 0 {
		verdict += ", " + count(len(v.Warnings), "warning")
	}
	if v.Valid {
		verdict += ", " + count(v.Peers, "peer")
	}
	a.note("%s %s", v.Path, verdict)
}

// placed returns a fault with the file before the line, as compilers do.
func placed(path string, f peers.Fault) string {
	if f.Line == 0 {
		return path + ": " + f.String()
	}
	return path + ":" + f.String()
}

// count returns "1 peer" or "2 peers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) peersDiffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "show what changed between two peers files",
		Long: `Shows the difference between two lists by name: + added, - removed, ~ changed with
the old and the new values. Either may be "-", standard input. Ends with code 6
when there is a difference.`,
		Example: `  kith peers diff /etc/kith/peers.json new.json
  git show HEAD~1:peers.json | kith peers diff - peers.json`,
		Args: exactArgs("OLD", "NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Equal(args, []string{"-", "-"}) {
				return usageError(errors.New("only one of the lists can be standard input"))
			}
			before, err := a.loadPeers(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			after, err := a.loadPeers(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			return a.showDiff(before.Diff(after), asJSON)
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd, exitFailed, exitInvalid, exitDiffers, exitInterrupted)
}

// diffJSON is a difference for programs: empty lists are lists all the same.
type diffJSON struct {
	Added   []*peers.Peer `json:"added"`
	Removed []*peers.Peer `json:"removed"`
	Changed []peers.Edit  `json:"changed"`
}

func newDiffJSON(d peers.Diff) diffJSON {
	return diffJSON{
		Added:   append([]*peers.Peer{}, d.Added...),
		Removed: append([]*peers.Peer{}, d.Removed...),
		Changed: append([]peers.Edit{}, d.Changed...),
	}
}

func (a *app) showDiff(d peers.Diff, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(newDiffJSON(d)); err != nil {
			return err
		}
	} else if !d.Empty() {
		a.sayDiff(d)
	}
	if !d.Empty() {
		return &exitError{code: exitDiffers}
	}
	return nil
}

// sayDiff prints a difference, additions green and removals red.
func (a *app) sayDiff(d peers.Diff) {
	styles := map[byte]style{'+': good, '-': bad, '~': doubt}
	for line := range strings.Lines(clean(d.String())) {
		line = strings.TrimRight(line, "\n")
		if line != "" {
			fmt.Fprintln(a.stdout, a.paint(line, styles[line[0]]))
		}
	}
}
