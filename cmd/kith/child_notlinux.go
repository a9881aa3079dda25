//go:build unix && !linux

package main

// allEnded reports false: it takes a process that has ended and waits for its parent to
// look for one that lives. The first process of the system looks soon.
func allEnded(int) bool { return false }
