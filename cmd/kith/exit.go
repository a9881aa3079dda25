package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/peers"
	"github.com/kith-go/kith/transport"
)

// Exit codes, the same for every command. exitCodes documents them, child.go has those
// of commands that cannot be run.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnhealthy   = 3
	exitUnreachable = 4
	exitInvalid     = 5
	exitDiffers     = 6
	exitConflict    = 7
	exitAbsent      = 8
	exitUnknown     = 9
	exitNoMajority  = 10
	exitHeld        = 11
	exitLost        = 12
	exitPeerDown    = 13
	exitTimeout     = 124 // as timeout(1) has it
	exitInterrupted = 130
)

var exitCodes = []struct {
	code  int
	short string
	about string
}{
	{exitOK, "done", "The command did what it was asked to."},
	{exitFailed, "failed", "It could not; standard error says why."},
	{exitUsage, "wrong usage", "The command line is wrong; nothing was done."},
	{exitUnhealthy, "not healthy", "The answer came, and something is missing, failed or wrong."},
	{exitUnreachable, "no agent", "No agent answers at the address."},
	{exitInvalid, "invalid list", "The list of peers has faults."},
	{exitDiffers, "differs", "The two lists differ."},
	{exitConflict, "conflict", "The key was not as the condition wants it; nothing was done."},
	{exitAbsent, "absent", "There is no such key, peer or handler, or nobody at that place."},
	{exitUnknown, "unknown", "It is not known whether the change was made, or will be."},
	{exitNoMajority, "no majority", "No majority of the voters answers; nothing was done."},
	{exitHeld, "held", "Others hold the lock."},
	{exitLost, "lost", "The lock or the session was lost; what ran under it was ended."},
	{exitPeerDown, "peer down", "The peer cannot be reached; nothing was done."},
	{exitTimeout, "time is up", "What was waited for did not happen in the time given."},
	{exitCannotRun, "cannot run", "The command was found and cannot be run."},
	{exitNotFound, "not found", "There is no such command to run."},
	{exitInterrupted, "interrupted", "SIGINT, SIGTERM or SIGHUP came before the command was done."},
}

// exitError is an error with the code it ends the process with. Without err
// everything was said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }

// errInterrupted is the end of a command that a signal ended before it was done.
var errInterrupted = &exitError{exitInterrupted, errors.New("interrupted")}

// codeOf returns the exit code for an error that carries none. What became of a change
// goes before how that came about.
func codeOf(err error) int {
	if errors.Is(err, kith.ErrUnknown) {
		return exitUnknown
	}
	if _, ok := errors.AsType[*kv.ConflictError](err); ok {
		return exitConflict
	}
	if _, ok := errors.AsType[*httpapi.UnreachableError](err); ok {
		return exitUnreachable
	}
	if _, ok := errors.AsType[*peers.InvalidError](err); ok {
		return exitInvalid
	}
	switch {
	case errors.Is(err, httpapi.ErrStreamEnded):
		return exitUnreachable
	case errors.Is(err, kv.ErrNotFound):
		return exitAbsent
	case errors.Is(err, httpapi.ErrHeld):
		return exitHeld
	case errors.Is(err, kith.ErrSessionEnded):
		return exitLost
	case errors.Is(err, httpapi.ErrLost):
		return exitAbsent
	case errors.Is(err, transport.ErrNoPeer), errors.Is(err, transport.ErrNoHandler):
		return exitAbsent
	case errors.Is(err, transport.ErrUnreachable):
		return exitPeerDown
	case errors.Is(err, transport.ErrTimedOut):
		return exitTimeout
	case errors.Is(err, kith.ErrNoQuorum):
		return exitNoMajority
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitFailed
}

// exits adds to the help of cmd which codes it ends with, besides done and wrong
// usage.
func exits(cmd *cobra.Command, codes ...int) *cobra.Command {
	words := []string{}
	for _, c := range exitCodes {
		if c.code == exitOK || c.code == exitUsage || slices.Contains(codes, c.code) {
			words = append(words, fmt.Sprintf("%d %s", c.code, c.short))
		}
	}
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[exitNote] = strings.Join(words, ", ")
	return cmd
}

// exitNote is the annotation from which the help of a command takes its codes.
const exitNote = "exit codes"

func exitCodesTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("Every kith command ends with one of these codes:\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&text, "  %3d  %-13s %s\n", c.code, c.short, c.about)
	}
	text.WriteString("\nThe help of each command names those that it uses. Where \"kith lock\" and \"kith run\"\n" +
		"have started a command, its code becomes theirs, 128+n if signal n has ended it.\n" +
		"When the code is kith's own, a line on standard error says why, beginning with \"kith: \".")
	return &cobra.Command{Use: "exit-codes", Short: "what the exit codes mean", Long: text.String()}
}

func environmentTopic() *cobra.Command {
	return &cobra.Command{Use: "environment", Short: "environment variables and files", Long: `Variables that kith reads:

  PEERS_PATH         the peers file, before all other places
  PEERS_SYNC_URL     where an agent and "kith peers sync" fetch the list of peers
  PEERS_SYNC_APIKEY  the key sent there, as X-Api-Key
  KITH_KEY_FILE      the file with the cluster key, before the one beside the peers file
  KITH_API           the agent that commands ask, default 127.0.0.1:2033; several with
                     commas: the next one is asked when one cannot be reached
  KITH_CLIENT_ID     as whom "owners", "members" and "explain" ask: what this client
                     holds is marked
  KITH_NAME          the name that "lock", "run" and "join" hold things by, default the
                     host's name
  KITH_TOKEN_FILE    the file with the token for it
  STATE_DIRECTORY    where agents keep their state, each in a directory of its name;
                     systemd sets it; without it root's are in /var/lib/kith
  XDG_STATE_HOME     other users' agents keep it in kith/ there, default ~/.local/state
  NO_COLOR           when set, no colours; there are none outside a terminal anyway

Variables that "kith lock" and "kith run" set for what they start: all of KITH_API,
KITH_CLIENT_ID and KITH_NAME, so that a script that asks with kith sees itself; and

  KITH_LOCK          the lock that is held
  KITH_GROUP         the group
  KITH_TOKEN         the fencing token, a number that is larger for every later holder
  KITH_RANK          the member's rank in the group, 0 for the leader
  KITH_LEADER        the name of the leader
  KITH_LEADER_TOKEN  and its token: it changes when the leader does

Files: "kith peers path --verbose" lists where the peers file is looked for. The
cluster key is a file named key beside it, readable by its owner only.`}
}
