//go:build !cgo || kith_nozmq

package main

// libzmqKinds are none in a program that was built without libzmq.
var libzmqKinds = kinds{}

func libzmqVersion() string { return "(none)" }
