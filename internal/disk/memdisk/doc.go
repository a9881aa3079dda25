// Package memdisk is a file system in memory that crashes when it is told to. It
// implements disk.FS for tests: those of what lives on disk, and those of whole
// clusters in virtual time.
//
// A [Disk] is the device. [Disk.Mount] gives the file system as one process sees
// it, and with it the process's fate can be played:
//
//   - [Disk.Kill] is the death of the process: all it wrote stays, its locks and its
//     open files end.
//   - [Disk.Crash] is the loss of power: what no Sync saved is kept, dropped or torn
//     at sectors of 512 bytes, each write by itself; what no SyncDir saved of a
//     directory is kept up to some point and dropped after it, each directory by
//     itself. The file of a name that was dropped is gone, synced or not. A journal
//     that keeps all directories in one order, as ext4's and xfs's do, allows less;
//     what is safe here is safe there.
//   - [Disk.OnOp] is called before every operation, and may crash, fail it, or
//     [Disk.Clone] the device, so that one run shows every point of it.
//   - [Disk.Fail] makes operations fail. A Sync that fails loses what it was to save,
//     though reads show it still and a later Sync succeeds: what Linux does. A write
//     that fails has written its first half.
//
// Nothing here sleeps, blocks or starts a goroutine, so that it runs inside
// testing/synctest bubbles.
package memdisk
