// Package kithtest starts clusters of kith nodes inside a test, and breaks them.
//
// On loopback, with the operating system's sockets:
//
//	func TestMine(t *testing.T) {
//		c := kithtest.Start(t, 3, kithtest.Options{})
//		c.AwaitAlive()            // all see all
//		c.Kill("bravo")           // as SIGKILL would
//		c.AwaitSeen("bravo", membership.StatusFailed)
//		c.Restart("bravo")
//		c.AwaitAlive()
//	}
//
// In virtual time, over a seeded network in memory, where a minute of waiting
// takes milliseconds and every fault of package memnet can be had:
//
//	func TestMine(t *testing.T) {
//		kithtest.Virtual(t, 5, kithtest.Options{Seed: 1}, func(t *testing.T, c *kithtest.Cluster) {
//			c.Network().SetDefault(memnet.Conditions{Delay: time.Millisecond, Loss: 0.05})
//			c.AwaitAlive()
//			c.Partition([]string{"alpha", "bravo"}) // from the rest
//			c.Await("alpha gives echo up", func() bool {
//				return c.Sees("alpha", "echo") == membership.StatusFailed
//			})
//			c.Heal()
//			c.AwaitAlive()
//		})
//	}
//
// Messages between virtual nodes take a way of their own in memory, which the faults of
// [Cluster] (Kill, Pause, Cut and so on) concern, and those of package memnet do not.
//
// The test waits on conditions, never for a time: the Await methods return as
// soon as theirs holds, and fail the test with a table of who sees what when
// it does not within [Options.Patience]. Nodes log to the test's output, which
// go test shows when it fails. Everything is closed when the test ends.
//
// Nodes are called alpha, bravo, charlie and so on, with PIDs 1, 2, 3.
package kithtest
