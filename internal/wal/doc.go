// Package wal is the Raft log on disk: entries and the HardState, written in
// batches, each of which becomes durable with one fdatasync at most.
//
// # Files
//
// The directory holds segments, named by their generation in hexadecimal:
//
//	00000007.wal    a segment: a part of the log, or prepared to become one
//	00000003.spare  was a segment, and will become another one
//	00000008.tmp    is being filled with zeros, to become one
//
// Generations count up by one and are never used twice. A segment is prepared
// before it is needed: a new file is filled with zeros, because fdatasync is
// fastest where neither length nor extents change; a spare one keeps what is in
// it. Then the header with the new generation is written and synced, and only then
// the file gets its name, which is made durable before the segment is written to.
//
// # Sectors
//
// A segment is a row of sectors of 512 bytes. All numbers are little endian. The
// first is the header:
//
//	"kith-wal" | version, 4 bytes | generation, 4 | number of sectors, 4 | zeros | CRC-32C, 4
//
// The others hold batches. Each batch, which is what one call writes, begins with
// a new sector and fills as many as it needs:
//
//	CRC-32C, 4 bytes | generation, 4 | mark, 4 | 500 bytes of the batch, or zeros behind its end
//
// The checksum starts from the sector's number in the file and covers the rest of
// the sector. The mark counts the bytes of the batch from this sector on, and its
// highest bit says that the batch begins here. No sector is written twice in a
// generation, but for a torn tail that was cut: what was acknowledged is not
// touched by what comes later.
//
// # Batches
//
// A batch begins with its kind (1 byte), the chain (4), which is the CRC-32C of the
// checksums of all sectors before it, through all segments, and synced (4): the
// number of the first sector of this segment that was not yet known to be durable
// when the batch was written. Then, by kind:
//
//	1 begin    where the segment before ended, 4 (a sector's number) | index of the last entry, 8 |
//	           index and term of the entry before the first, 16 | state: term, vote, commit, 24
//	2 reset    the same; the log begins anew with it
//	3 append   0, or 1 and a state, 24 | number of entries | index of the first | entries:
//	           term | type, 1 | length of the data | data          (numbers without a length are varints)
//	4 compact  index and term of the entry before the first, 16
//
// Every segment in use begins with a batch of kind begin or reset, which says all
// that a reader needs of the segments before it: so they can go. A segment goes
// when all its entries are compacted or overwritten by later ones, after the
// compaction became durable, oldest first. An entry may be of any length up to
// that of a batch, 1 GiB; a batch that does not fit into a segment has one
// lengthened for it beforehand. The last 8 sectors of a segment are left to
// batches of kind compact: a full disk must not keep the log from making room.
//
// # A torn tail is not damage
//
// What a crash may leave of writes that were not synced is any part of them,
// sector by sector, each as it is now or as it was before: they reach the disk in
// any order. So there are three conditions in which a reader can find a sector:
//
//	current   the checksum is right, and the generation is the segment's
//	stale     all zeros, or the checksum is right and the generation an older one
//	damaged   anything else
//
// A batch was acknowledged only after all of its sectors had reached the disk, and
// all before it. Hence, where no whole batch begins although the segment goes on:
//
//   - One of the batch's sectors is stale: it was never durable as a whole, nobody
//     was told that it was, nor of anything behind it. This is the end of the log,
//     and if anything current is there or behind it, the tail is torn. It is cut:
//     overwritten with zeros and synced, before anything is appended.
//   - None is stale, but some are damaged, or the first one is, so that nobody
//     knows how many there were: no crash does that. It is damage, also in the very
//     last batch, and the log is refused.
//   - The tail is torn, but a current batch behind it says in synced that it was
//     written after this place had become durable. Then the disk lost what it had
//     confirmed: damage.
//
// Only the last segment in use can have a torn tail, because the one before was
// synced before it was begun, and its first batch says where that one ended. What
// is missing elsewhere is damage: a wrong end, a chain that differs, entries that
// do not follow one another, a file that is shorter than its header says.
//
// What an older generation left in a recycled file is stale wherever it is, since
// the generation stands in each sector (SAFETY.md, S4): it is never read as a part
// of the log.
//
// What this cannot see: a disk that loses, after it confirmed them, exactly the
// last sectors written before a crash, whole. They look as if they had never been
// written. And a disk that writes less than a sector at once when the power goes
// can cause a refusal where a cut would have done: this errs towards safety.
//
// # After a failure
//
// When a write or a sync fails, nobody knows what is on the disk: the system may
// show what it could not save, and forget it later. The log takes nothing more,
// and the node must not come back with what it reads in these files (SAFETY.md, S3
// and S4); to remember that is up to the caller. Two failures are none of this: a
// full disk, where another segment was to be prepared ([ErrNoSpace]), since nothing
// of the log was touched; and a process that dies, since the next [Open] syncs what
// it reads before it returns it.
package wal
