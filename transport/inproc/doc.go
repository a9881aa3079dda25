// Package inproc is an engine for messengers of one process, over a network in
// memory. It exists for tests: connections take time by seed, break when they are told
// to, and nodes are killed, stopped, cut off and restarted. Everything runs in
// testing/synctest, where hours pass in a moment.
//
//	network := inproc.New(inproc.Options{})
//	alpha, err := transport.New(transport.Config{Name: "alpha", Engine: network.Engine("mem:alpha")})
//
// Packets are copied once, as a real network would: what one side does with a body is
// never seen by the other.
package inproc
