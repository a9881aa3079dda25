//go:build !unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// shell returns a command line for the shell.
func shell(line string) *exec.Cmd { return exec.Command("cmd", "/C", line) }

// ownGroup does nothing where there are no process groups: what a child has started
// goes on when the child is ended.
func ownGroup(*exec.Cmd, bool) {}

// signalGroup ends the process: there is no asking here.
func signalGroup(process int, _ syscall.Signal) {
	if p, err := os.FindProcess(process); err == nil {
		p.Kill()
		p.Release()
	}
}

// groupLives reports false: only the process itself is known, and its parent waits for
// it.
func groupLives(int) bool { return false }

// passedOn are the signals that kith hands to what it runs.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// endsKith reports that kith ends after any of them.
func endsKith(os.Signal) bool { return true }
