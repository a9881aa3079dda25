// Package system has the systems that several benchmarks start and watch: kith's
// nodes, and etcd's members with connections to them.
package system
