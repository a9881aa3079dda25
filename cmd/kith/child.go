package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// job is a program that runs under a place: a command, or a line for the shell.
type job struct {
	ID   int      `json:"id"`
	Argv []string `json:"argv,omitempty"`
	Line string   `json:"line,omitempty"`
	// Env is added to the environment that kith itself has.
	Env []string `json:"env,omitempty"`
	// Stdin lets it read kith's standard input; otherwise there is nothing to read.
	Stdin bool `json:"stdin,omitempty"`
}

// command returns the job as a process to be started.
func (j job) command() *exec.Cmd {
	var cmd *exec.Cmd
	if j.Line != "" {
		cmd = shell(j.Line)
	} else {
		cmd = exec.Command(j.Argv[0], j.Argv[1:]...)
	}
	cmd.Env = append(os.Environ(), j.Env...)
	return cmd
}

// String names the job for messages.
func (j job) String() string {
	if j.Line != "" {
		return j.Line
	}
	return j.Argv[0]
}

// Codes of a command that was never run, as shells and env(1) have them, and what is
// added to a signal's number when that ended it.
const (
	exitCannotRun  = 126
	exitNotFound   = 127
	exitSignalBase = 128
)

// startFailed returns the exit code of a command that could not be started.
func startFailed(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return exitNotFound
	}
	return exitCannotRun
}

// checkProgram refuses a command that cannot be started, before anybody waits for it.
func checkProgram(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return &exitError{startFailed(err), fmt.Errorf("the command cannot be run: %w", err)}
	}
	return nil
}

// exitStatus returns the exit code of a process that has ended, 128+n after signal n.
func exitStatus(state *os.ProcessState) int {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitSignalBase + int(w.Signal())
	}
	return state.ExitCode()
}
