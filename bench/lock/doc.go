// Command lock measures kith's locks and groups beside etcd's package concurrency and
// ZooKeeper, in one run on one machine: three servers each, every change on the disks
// of a majority before it is acknowledged. It needs Linux. Run it in the bench
// directory:
//
//	go run ./lock           (about half an hour)
//	go run ./lock -quick    (a minute; shows that it works, its figures mean little)
//	go run ./lock -only 'own lock' -systems kith,etcd
//
// ZooKeeper is Debian's package: apt-get install zookeeper, once, as root. Nothing is
// installed by this program. If the package is not there it says so and goes on without.
//
// # What is compared with what
//
// A program embeds kith: its callers are goroutines inside the servers' processes.
// Those of the rivals are in a process of their own, connected to the server at the
// place that is named, as their users' are.
//
// etcd runs with its defaults; Mutex, Session and Election are those of its package
// concurrency. Callers with a lock each share -conns connections, with a session on
// each; those who want the same lock have a session each, since to etcd two with one
// session are one.
//
// ZooKeeper has the settings of Debian's example and forceSync, which is its default.
// The client is go-zookeeper/zk with its own recipe, zk.Lock. Sessions are shared as in
// etcd.
//
// None of the three encrypts: they talk over loopback.
//
// # How
//
// Callers run in closed loops: acquire, release at once, again. The systems take turns,
// round by round, and medians over the rounds are reported. A system whose turn it is
// not is stopped with SIGSTOP. Each works a little before anything is counted.
//
// "Own lock" is one lock for each caller; all of them talk to the leader or, where the
// name says so, to a follower. "One lock" is one for all: contenders sit at the leader,
// one follower, the other follower, and so on in turn, and count in the same window of
// time, twice as long as the others'. "Most/least" is the number of grants to the
// contender that got most, divided by that of the one that got least. Nothing is done
// under the lock, so a contender may not be back in line when the other lets go.
//
// etcd's contended figures are low for a reason that can be named: a waiter watches
// its predecessor's key from the revision that it has just read, which is not in the
// future, so the server puts that watcher among those that it looks after every 100 ms.
//
// For "holder killed" somebody waits in line behind a holder, both away from the leader
// and from one another, for half a second to one and a half; the holder's process gets
// SIGKILL; the time until the grant is measured by the process that waits and kills. In
// kith the holder is a server. In etcd it holds an Election with TTL 1, the least, in
// ZooKeeper a lock with the shortest session timeout that the server grants, four seconds;
// each in a process of its own. For "leader and holder killed" they die at the same time:
// in kith they are the same process. Everything else is configured as by default.
//
// Of groups, 1,000 with ten members each, who sit at the three servers in turn, the
// memory is what a server has more afterwards, in anonymous resident pages after a
// garbage collection. In kith that has the members' own side in it, too. Rivals' members
// are the keys that their election recipes write, ten sessions with one in each group,
// and nobody watches. A JVM's size says nothing about what is in it, so ZooKeeper has no
// such figure. A leave is one seat given up at a follower, while nobody else does
// anything; the median of 200.
//
// # Reading the figures
//
// The table has everything. Of the lines below it, one for each figure and rival, a
// ratio above 1 is in kith's favour.
package main
