// Package snapshot keeps snapshots of the state in files. A snapshot is there
// whole or not at all, wherever a crash comes, and is read only as it was written.
//
// # Files
//
// The directory holds one file for each snapshot, named by the index and the term
// of the last entry in it, in hexadecimal:
//
//	0000000000000abc-0000000000000007.snap
//
// A snapshot is written to a file whose name ends in ".tmp", synced, renamed, and
// the name is synced; [OpenStore] removes what a crash left of the first kind, and
// syncs the directory once more, for a process that died before it could.
//
// # Format
//
// All numbers are little endian; checksums are CRC-32C and form one chain: each
// goes on from the one before, so that no block can be exchanged, moved, left out
// or taken from another file.
//
//	header    "kithsnap" | version, 4 bytes | index, 8 | term, 8 | checksum, 4
//	block     length, 4, from 1 to 1 MiB | checksum of length and data, 4 | data
//	…
//	trailer   zero, 4 | checksum of zero and total, 4 | bytes of data in all, 8
//
// Nothing follows the trailer. Another node is sent the file as it is; what it
// receives becomes visible there only after every checksum was found right.
package snapshot
