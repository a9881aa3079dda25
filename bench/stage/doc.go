// Package stage is what the benchmarks of this module have in common: clusters of
// real processes on loopback that take turns, loads in closed loops, and the
// report that sets kith beside its rivals.
//
// A benchmark runs itself again for each server and each process that puts load on
// one. Such a child is told in its [Spec] what to be, and then asked to do jobs. What
// kinds of children and of jobs there are is the benchmark's [Cast].
//
// Each system is a [Cluster] of three servers. A cluster whose turn it is not is
// stopped with SIGSTOP: an idle cluster uses the CPU too.
//
// It needs Linux, for CPU times and memory sizes.
package stage
