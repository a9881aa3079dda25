//go:build cgo && unix && !linux && !kith_nozmq

package zmq

// addGate does nothing: only Linux has what a gate is made of.
func (*socket) addGate() error { return nil }
