//go:build race

package transport_test

// slowdown is about how much the race detector costs.
const slowdown = 10
