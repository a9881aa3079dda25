// Package disk is the seam between kith and the file system: the few operations
// that durable state needs, each with its promise about crashes said openly, so
// that tests can put a file system in memory in its place (memdisk) that loses
// power at any point they like.
//
// # What a crash may take
//
// Two things reach the disk separately, and only when asked:
//
//   - what is in a file, when [File.Sync] returns;
//   - that a name in a directory means that file (creation, renaming, removal),
//     when [FS.SyncDir] returns.
//
// Until then each may be there, not there, or there in part: writes in any order
// and torn at 512-byte sectors, names in the order in which they were made. A
// file that was synced under a name that was not is gone. [WriteFile] goes the
// whole way for a small file; package wal and package snapshot say how they go it.
//
// When [File.Sync] fails, what it was to save may be lost even though reads still
// show it and though a later Sync succeeds: the system drops such pages and
// reports them once. Whoever sees it fail must never trust that file again
// (SAFETY.md, S4).
//
// # Waiting for the disk
//
// [Writer] is for who writes and syncs all the time: it has a thread do so, outside of
// Go's scheduler.
package disk
