//go:build unix

package main

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// shellCommand returns a command line as a process group of its own: a Ctrl-C at the
// terminal reaches kith alone, and the end of ctx sends SIGTERM to the whole group.
func shellCommand(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	return cmd
}

// keepOwner gives f the owner of old where the process may. Where it may not the new
// file is the writer's own, as that of any editor would be.
func keepOwner(f *os.File, old fs.FileInfo) {
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		f.Chown(int(stat.Uid), int(stat.Gid))
	}
}
