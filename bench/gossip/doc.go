// Package gossip measures kith's membership beside plain memberlist with its LAN
// defaults: the same seeded network in memory, the same losses, the same
// virtual clock, in one run.
//
//	go test -v -timeout 60m ./gossip            (5 and 50 nodes)
//	go test -v -timeout 60m ./gossip -args -big (200 as well)
//
// It prints one line per figure: "<name>: kith <x> memberlist <y> ratio <r>",
// where a ratio above 1 is better for kith.
package gossip
