package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// allEnded reports whether all processes of a group have ended and only wait for their
// parent to look: in a container that is a first process which may take its time, or for
// ever.
func allEnded(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return false
	}
	number := []byte(strconv.Itoa(group))
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone
		}
		// PID (NAME) STATE PARENT GROUP …, and a name may hold anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) > 2 && bytes.Equal(fields[2], number) && fields[0][0] != 'Z' && fields[0][0] != 'X' {
			return false
		}
	}
	return true
}
