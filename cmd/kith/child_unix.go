//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// shell returns a command line for the shell.
func shell(line string) *exec.Cmd { return exec.Command("/bin/sh", "-c", line) }

// ownGroup puts cmd into a process group of its own. With bound it dies with the thread
// that starts it, where the system knows how.
func ownGroup(cmd *exec.Cmd, bound bool) {
	if bound {
		bindToParent(cmd)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// signalGroup sends a signal to all processes of a group. A process that is stopped is
// continued, so that it can do as it is told.
func signalGroup(group int, s syscall.Signal) {
	syscall.Kill(-group, s)
	if s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGHUP {
		syscall.Kill(-group, syscall.SIGCONT)
	}
}

// groupLives reports whether the group has processes that have not ended.
func groupLives(group int) bool {
	switch err := syscall.Kill(-group, 0); {
	case errors.Is(err, syscall.ESRCH):
		return false
	case err != nil: // somebody else's, who cannot be asked
		return true
	}
	return !allEnded(group)
}

// passedOn are the signals that kith hands to what it runs.
func passedOn() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// endsKith tells the signals after which kith ends from those that are only handed on.
func endsKith(s os.Signal) bool { return s != syscall.SIGUSR1 && s != syscall.SIGUSR2 }
