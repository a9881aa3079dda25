// Package proof runs replicas as real processes, on a real disk and a real
// network, kills, stops and damages them, and judges what their clients were told.
// It has tests only.
//
// A test's binary runs itself again for each replica, which answers on its standard
// output what it is asked on its standard input, a line of JSON each. So a killed
// replica looks to the test as a killed server to its clients: what was under way
// has no answer, and its outcome is unknown; only what was never handed over was
// certainly not done. To one that is stopped requests can be sent, which it finds
// when it wakes.
//
// What is proved:
//
//   - TestKilledPausedRestarted: under SIGKILL, SIGSTOP and restarts, by seed,
//     histories of concurrent clients on all replicas are linearizable, watches miss
//     nothing, and in the end all replicas hold what was acknowledged; of locks,
//     semaphores and groups nobody holds beside others, and all are empty in the end.
//   - TestHolderKilled: who waits behind a process that is killed, be it the leader's,
//     holds after a small part of the time that the session would have lasted.
//   - TestHolderStopped: a holder that is stopped is superseded when its time is up, and
//     what it writes on condition of the lock as it wakes is refused.
//   - TestAllKilledAtOnce: every acknowledged write outlives the simultaneous death
//     of all processes, several times in a row.
//   - TestLeaderKilled: and that of the leader; it tells how long writes stood still.
//   - TestStaleReadHunt: a leader that was stopped, and succeeded meanwhile, answers
//     no read with what was true before it was stopped.
//   - TestTwoProcessesOneDirectory, TestUnusableDirectory, TestDamagedLog: what must
//     not run does not, says why, and disturbs nobody.
//   - TestSnapshotJoins: who was away for longer than the log reaches back comes
//     back by snapshot.
//
// What is not: SIGKILL leaves the system's cache alone, so that nothing here shows
// what a loss of power does. The same workload in virtual time, on a file system
// that forgets what was not synced, and package wal's own tests show that. Nor is
// the network at fault here; there it is.
//
// Sizes are made for a shared machine with two cores. For more:
//
//	go test ./internal/proof -proof.seeds 50 -proof.from 1 -proof.rounds 200 -timeout 60m
package proof
