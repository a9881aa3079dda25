package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

const (
	// syncRetryFirst and syncRetryMost are the pauses before a lost agent, or a file
	// that could not be written, is tried again.
	syncRetryFirst = 100 * time.Millisecond
	syncRetryMost  = 5 * time.Second
	// syncPatience is how long an agent may have nothing to say before that is told.
	syncPatience = 10 * time.Second
	// execGrace is how long a command may take to end when kith does.
	execGrace = 10 * time.Second
)

func (a *app) syncCommand() *cobra.Command {
	var af agentFlags
	s := keySync{app: a}
	cmd := &cobra.Command{
		Use:     "sync KEY",
		GroupID: groupKeys,
		Short:   "keep a file like a key, and run a command when it changes",
		Long: `Writes the value of a key to a file, and again whenever it changes, until interrupted,
which is code 0. The file is replaced in one step: nobody ever sees half of it, also
when the machine loses power. A key that is not there leaves the file as it is, unless
--allow-absent asks for an empty one.

The command of --exec is run by the shell after each change, with the value on
standard input, and $KITH_SYNC_KEY and $KITH_SYNC_REVISION set. If it fails that is told,
and sync goes on. It is run again only when the content changes: not when the agent
was away, nor when sync is started again and the file is what it should be. One that
was interrupted, or failed, is run once more at the next start; a file
.NAME.kith-pending beside the file remembers that.

An agent that is away is waited for, and what changed meanwhile is caught up with. With
--once the file is written once, and what goes wrong is the exit code.`,
		Example: `  kith sync openstack.config --output /etc/nova/nova.conf --exec restart-nova.sh
  kith sync app/secret --output /run/app/secret --mode 0600
  kith sync app/config --output config.yaml --once`,
		Args: exactArgs("KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.key = args[0]
			if s.output == "" && s.exec == "" {
				return usageError(errors.New("there is nothing to do: give --output, --exec, or both"))
			}
			if s.mode != 0 && (s.output == "" || s.output == "-") {
				return usageError(errors.New("--mode is for the file of --output"))
			}
			return a.ask(af, func(c *httpapi.Client) error { return s.run(cmd.Context(), c) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&s.output, "output", "o", "", "write to this `file`, - for standard output")
	f.StringVar(&s.exec, "exec", "", "run this `command` after each change, with the value on standard input")
	f.Var(&s.mode, "mode", "`permissions` of the file, such as 0600 (default: it keeps them; a new one gets 0644 less the umask)")
	f.BoolVar(&s.allowAbsent, "allow-absent", false, "take a key that is not there for an empty value")
	f.BoolVar(&s.once, "once", false, "do it once and end, with code 8 if the key is not there")
	af.add(f)
	return exits(cmd, append(keyCodes, exitAbsent)...)
}

// keySync keeps a file like a key.
type keySync struct {
	app         *app
	key         string
	output      string // "" for none, "-" for standard output
	exec        string // "" for none
	mode        mode
	allowAbsent bool
	once        bool

	// last is the value that was dealt with; begun tells that there is one. Of a key
	// that is taken for empty it is the empty value.
	last  []byte
	begun bool
	// missing is what was told of the key's absence.
	missing bool
}

// run follows the key until ctx ends, through all absences of the agent.
func (s *keySync) run(ctx context.Context, c *httpapi.Client) error {
	if s.file() {
		if err := checkOutput(s.output); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		removeLeftovers(s.output, time.Now())
	}
	if s.once {
		entry, err := c.Get(ctx, s.key)
		if err != nil && !(errors.Is(err, kv.ErrNotFound) && s.allowAbsent) {
			return err
		}
		return s.apply(ctx, entry, 0)
	}
	wait, told := syncRetryFirst, false
	for {
		err := s.follow(ctx, c, func() {
			if told {
				s.app.note("back at %s", c.URL())
			}
			wait, told = syncRetryFirst, false
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return err
		case !told:
			s.app.note("%s; trying again until it works", errorWords(err))
			told = true
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, syncRetryMost)
	}
}

// checkOutput refuses what can never be written, so that a slip of the pen is not taken
// for a disk that may come back.
func checkOutput(path string) error {
	target, err := linkTarget(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Dir(target)); err != nil {
		return err
	}
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	return nil
}

// passing reports whether it makes sense to try again after err. A refusal that
// blames the request itself stays what it is.
func passing(err error) bool {
	if _, told := errors.AsType[*exitError](err); told { // standard output is gone
		return false
	}
	if errors.Is(err, kv.ErrInvalid) || errors.Is(err, kv.ErrTooLarge) {
		return false
	}
	e, ok := errors.AsType[*httpapi.ReplyError](err)
	return !ok || e.Code >= http.StatusInternalServerError || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout
}

// follow deals with the key as it is and with every change, until something breaks. It
// calls done whenever
// that went well.
func (s *keySync) follow(ctx context.Context, c *httpapi.Client, done func()) error {
	silent := time.AfterFunc(syncPatience, func() {
		s.app.note("%s has no answer yet: is a majority of the voters there? kith status tells; waiting", c.URL())
	})
	defer silent.Stop()
	var entry kv.Entry // as far as it was told; revision 0: not there
	for change, err := range c.WatchKey(ctx, s.key, 0) {
		if err != nil {
			return err
		}
		switch change.Kind {
		case kv.Written:
			entry = change.Entry
		case kv.Deleted, kv.Expired, kv.Resync:
			entry = kv.Entry{}
		}
		if !change.Last {
			continue
		}
		silent.Stop()
		if err := s.apply(ctx, entry, change.Revision); err != nil {
			return err
		}
		done()
	}
	return io.ErrUnexpectedEOF // a stream ends with an error of its own
}

// apply makes the file like the entry and runs the command if that is new. A key that is
// not there has been so since the revision at least.
func (s *keySync) apply(ctx context.Context, entry kv.Entry, at kv.Revision) error {
	if entry.Revision == 0 && !s.allowAbsent {
		s.absent()
		return nil
	}
	if entry.Revision != 0 {
		at = entry.Revision
	}
	s.missing = false
	run, err := s.write(entry.Value)
	if err != nil {
		return err
	}
	s.last, s.begun = entry.Value, true
	if !run {
		return nil
	}
	if err := s.runCommand(ctx, entry.Value, at); err != nil {
		if s.once || ctx.Err() != nil {
			return err
		}
		s.app.note("%v; going on", err)
		return nil
	}
	if s.file() {
		os.Remove(s.pendingFile()) // if that fails the command runs once too often
	}
	return nil
}

// absent tells that the key is not there, once.
func (s *keySync) absent() {
	if !s.missing {
		what := ""
		if s.file() {
			what = "; " + s.output + " stays as it is"
		}
		s.app.note("there is no key %q%s", s.key, what)
	}
	s.missing = true
}

// file reports whether there is a file to be kept.
func (s *keySync) file() bool { return s.output != "" && s.output != "-" }

// write makes the output like the value where it is not, and tells whether the command
// is to be run.
func (s *keySync) write(value []byte) (run bool, err error) {
	changed := !s.begun || !bytes.Equal(s.last, value)
	switch {
	case s.output == "-" && changed:
		if _, err := s.app.stdout.Write(value); err != nil {
			return false, &exitError{exitFailed, nil} // run tells why
		}
		return s.exec != "", nil
	case !s.file():
		return changed && s.exec != "", nil
	}
	same, err := s.inPlace(value)
	if err != nil {
		return false, err
	}
	if s.begun {
		run = changed
	} else {
		_, err := os.Lstat(s.pendingFile())
		run = !same || err == nil
	}
	run = run && s.exec != ""
	if run {
		if err := s.markPending(); err != nil {
			return false, err
		}
	}
	if !same {
		if err := replaceFile(s.output, value, fs.FileMode(s.mode)); err != nil {
			return false, fmt.Errorf("writing %s: %w", s.output, err)
		}
	}
	return run, nil
}

// inPlace reports whether the file holds the value already, and sees to its permissions
// then.
func (s *keySync) inPlace(value []byte) (bool, error) {
	f, err := os.Open(s.output)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() != int64(len(value)) {
		return false, nil
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(len(value))+1))
	if err != nil || !bytes.Equal(text, value) {
		return false, err
	}
	if s.mode != 0 && info.Mode().Perm() != fs.FileMode(s.mode) {
		return true, os.Chmod(s.output, fs.FileMode(s.mode))
	}
	return true, nil
}

// pendingFile is there while the command has not yet succeeded with what is in the
// file, so that a sync that is started again knows.
func (s *keySync) pendingFile() string {
	dir, base := filepath.Split(s.output)
	return dir + "." + base + ".kith-pending"
}

func (s *keySync) markPending() error {
	f, err := os.OpenFile(s.pendingFile(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	syncDir(filepath.Dir(s.output)) // before the new content can be
	return f.Close()
}

// runCommand runs the command with the value on its standard input, and waits for it.
func (s *keySync) runCommand(ctx context.Context, value []byte, at kv.Revision) error {
	cmd := shellCommand(ctx, s.exec)
	cmd.Env = append(os.Environ(), "KITH_SYNC_KEY="+s.key, "KITH_SYNC_REVISION="+strconv.FormatUint(uint64(at), 10))
	cmd.Stdin = bytes.NewReader(value)
	cmd.Stdout, cmd.Stderr = s.app.stdout, s.app.stderr
	if out, ok := s.app.stdout.(*output); ok {
		cmd.Stdout = out.w // a file is the child's own, so that whoever keeps it open holds up nothing
	}
	cmd.WaitDelay = execGrace
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // it ended well, what it has started goes on
		return nil
	}
	return fmt.Errorf("the command %q failed: %w", s.exec, err)
}
