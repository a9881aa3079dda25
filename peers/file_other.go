//go:build !unix

package peers

import (
	"io/fs"
	"os"
)

func keepOwner(*os.File, fs.FileInfo) {}

// syncDir does nothing: these systems have no way to ask for it.
func syncDir(string) error { return nil }
