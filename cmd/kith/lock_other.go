//go:build !unix || solaris || aix

package main

import "os"

// lockFile does nothing where directories cannot be locked.
func lockFile(*os.File) {}
