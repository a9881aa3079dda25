//go:build !unix

package main

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
)

// shellCommand returns a command line, whose process the end of ctx kills.
func shellCommand(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "cmd", "/C", line)
}

// keepOwner does nothing where files have no owner to be kept.
func keepOwner(*os.File, fs.FileInfo) {}
