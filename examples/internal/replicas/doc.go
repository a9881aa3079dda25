// Package replicas runs an example as real processes, for its test: the test binary
// itself, which [Main] turns into the example, once for each replica of a peers.json on
// the loopback. A [Process] is told apart by what it prints; it can be killed, paused
// and asked to end, as in life.
package replicas
