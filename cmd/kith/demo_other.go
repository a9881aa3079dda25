//go:build !linux

package main

import "os/exec"

// bindToParent does nothing where a child cannot be told to die with its
// parent. The demo still ends its children itself unless it is killed outright.
func bindToParent(*exec.Cmd) {}
