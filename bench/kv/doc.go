// Command kv measures kith's keys beside etcd and NATS JetStream, in one run on
// one machine: three servers each, every write on the disks of a majority before
// it is acknowledged. It needs Linux. Run it in the bench directory:
//
//	go run ./kv           (about half an hour)
//	go run ./kv -quick    (a minute; shows that it works, its figures mean little)
//	go run ./kv -only 'puts leader' -rounds 1
//
// # What is compared with what
//
// A program embeds kith: the callers of "kith" are goroutines inside the leader's
// or a follower's process. That spares a network hop, which is kith's point and
// not a trick of the benchmark, but it is not the same path. The callers of "kith
// over HTTP" are in a process of their own and use the HTTP API, as those of etcd
// (gRPC) and NATS (its protocol) do in theirs: like for like.
//
// etcd runs with its defaults, callers spread over -conns connections as by its
// own benchmark. Linearizable reads are its default ones, local reads its
// serializable ones.
//
// NATS is a JetStream key-value bucket with three replicas in files, and
// sync_interval: always. It has no linearizable reads; its local reads are the
// direct gets of its client.
//
// None of the three encrypts: they talk over loopback.
//
// # How
//
// Callers run in closed loops: each does one operation after another, with keys
// chosen at random. For each operation the systems take turns, round by round,
// and medians over the rounds are reported. A system whose turn it is not is
// stopped with SIGSTOP, and the disks are synchronized before the next turn. CPU
// times are those of all processes that did the work: the servers, and the
// callers' process if it is another.
//
// For "leader killed" one writer talks to a follower, in a loop; the leader gets
// SIGKILL; the time to the first acknowledgement of a write that began after it is
// measured. An attempt that is not answered within 50 ms is given up and the next
// begun, since a proposal that was on its way to the dead leader is lost in etcd.
//
// -extra adds what systems cost at rest: their CPU time without load, the memory of
// a million keys (anonymous resident pages after a garbage collection, so etcd's
// mapped database does not count), the time from the start of a killed server to
// its having caught up, and for kith the worst put while the leader makes a
// snapshot.
//
// # Reading the figures
//
// The table has everything. Of the lines below it, one for each figure and rival, a
// ratio above 1 is in kith's favour: more operations, less time, less memory.
package main
