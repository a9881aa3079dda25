// Package peers reads, checks, edits, watches and synchronizes the peers file:
// the JSON list of the processes that should exist on a network.
//
// The file holds metadata and one entry for each replica:
//
//	{
//	  "info": {},
//	  "replicas": [
//	    {"pid": 1, "name": "alpha", "hostname": "apollo", "ip_address": "10.0.0.1", "port": 3264},
//	    {"pid": 2, "name": "bravo", "hostname": "athena", "ip_address": "10.0.0.2", "port": 3264}
//	  ]
//	}
//
// The pid is the precedence of a peer, not a process ID of the system. The port
// is the message port; the control port is control_port, or port+1000 when that
// is absent. Keys that the package does not know survive a load and a dump.
//
// # Finding and loading
//
// [Load] looks in these places and uses the first file that it can load:
//
//   - $PEERS_PATH
//   - $PWD/peers.json
//   - $HOME/.kith/peers.json
//   - $HOME/.fluidfs/peers.json
//   - /etc/kith/peers.json
//   - /etc/fluidfs/peers.json
//
// [Find] only says which file that is, and treats a $PEERS_PATH without a file
// as a mistake. [LoadFrom] and [Peers.Load] read a given file. Loading is
// lenient, so that every file of old loads; [Peers.Validate] is strict and names
// every fault with its line, and [Peers.Warnings] names what is merely odd.
//
// # Following
//
// [Watch] is the list as a stream: what it is now, then every change to the
// file, however the file is replaced. A missing, half-written or invalid file
// never removes a peer: the last good list stays.
//
// [Sync] and [SyncFrom] fetch the list once from a server; a [Syncer] keeps
// fetching, and keeps the last good copy on disk for the time when the server
// is away.
//
// # Values and goroutines
//
// A [Peers] and a [Peer] are plain values without locks: any number of
// goroutines may read one, and none may while another changes it. Functions that
// return lists, [Watch] and [Syncer] among them, return copies that belong to
// the caller. A Syncer is safe for concurrent use. The environment is read by
// [Load], [Find], [SearchPaths], [Path], [Sync] and [SyncEnv], and nowhere else.
package peers
