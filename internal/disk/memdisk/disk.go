package memdisk

import (
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kith-go/kith/internal/disk"
)

// ErrGone is the error of every use of a mount, or of a file opened through it,
// whose process was killed or whose machine lost power.
var ErrGone = errors.New("memdisk: the process that mounted this is dead")

// Kind tells operations apart.
type Kind int

// The kinds of operations, one for each method of disk.FS and disk.File that
// reaches the device.
const (
	Mkdir Kind = iota
	Create
	Open
	Rename
	Remove
	List
	SyncDir
	Lock
	Read
	Write
	Truncate
	Sync
)

// Changes reports whether an operation of this kind changes what a crash may
// leave; there is no use in crashing before one that does not.
func (k Kind) Changes() bool {
	return k != Open && k != List && k != Lock && k != Read
}

// Op is an operation that is about to happen.
type Op struct {
	N    int // counts from 1 over the device's life
	Kind Kind
	Path string
}

// Disk is a device. It is safe for concurrent use.
type Disk struct {
	mu     sync.Mutex // guards all below; hooks run without it
	life   int        // counts the processes that had it mounted
	ops    int
	hook   func(Op) error
	faults map[Kind]fault
	dirs   map[string]*directory // by clean path
	locks  map[string]*lock      // those held, by clean path
}

type fault struct {
	left int
	err  error
}

// New returns an empty device.
func New() *Disk {
	return &Disk{faults: map[Kind]fault{}, dirs: map[string]*directory{}, locks: map[string]*lock{}}
}

// Mount returns the file system for a process, which lives until the next Kill or
// Crash. Mounts of the same time share locks, as two nodes in a process do.
func (d *Disk) Mount() disk.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &mount{d, d.life}
}

// Kill ends the processes that have the device mounted: all they wrote stays, but
// is no more durable than it was.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
}

func (d *Disk) killLocked() {
	d.life++
	clear(d.locks)
}

// Crash takes the power away: see the package's text. What rng says decides on
// everything that is not certain.
func (d *Disk) Crash(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
	seen := map[*inode]bool{}
	for _, path := range slices.Sorted(maps.Keys(d.dirs)) {
		dir := d.dirs[path]
		dir.crash(rng)
		for _, name := range slices.Sorted(maps.Keys(dir.now)) {
			if node := dir.now[name]; !seen[node] {
				seen[node] = true
				node.crash(rng)
			}
		}
	}
}

// Clone returns a device that holds what this one does, durable and not, and that
// nobody has mounted. Hook and faults are not taken over.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New()
	copies := map[*inode]*inode{}
	for path, dir := range d.dirs {
		c.dirs[path] = dir.clone(copies)
	}
	return c
}

// OnOp has hook called before every operation, without any lock held and perhaps
// from several goroutines at once; its error, if any, is the operation's. Nil ends
// that.
func (d *Disk) OnOp(hook func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

// Fail makes the next n operations of a kind fail with err, as syscall.EIO or
// syscall.ENOSPC; n = 0 ends that.
func (d *Disk) Fail(kind Kind, n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[kind] = fault{n, err}
}

// do counts and carries out an operation. effect runs with d.mu held; fault, when
// not nil, is the error that it must end with.
func (d *Disk) do(life int, kind Kind, path string, effect func(fault error) error) error {
	d.mu.Lock()
	if d.life != life {
		d.mu.Unlock()
		return ErrGone
	}
	d.ops++
	op, hook := Op{d.ops, kind, path}, d.hook
	d.mu.Unlock()
	if hook != nil {
		if err := hook(op); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life != life {
		return ErrGone // the hook did it
	}
	f := d.faults[kind]
	if f.left == 0 {
		return effect(nil)
	}
	f.left--
	d.faults[kind] = f
	return effect(f.err)
}

// directory holds names as they are and as a crash would find them.
type directory struct {
	now, durable map[string]*inode
	pending      []naming // from durable to now
}

// naming is a change to a directory: one name goes, one comes, or both at once.
type naming struct {
	gone, name string // "" for none
	node       *inode // name's
}

func (n naming) apply(names map[string]*inode) {
	if n.gone != "" {
		delete(names, n.gone)
	}
	if n.name != "" {
		names[n.name] = n.node
	}
}

func newDirectory() *directory {
	return &directory{now: map[string]*inode{}, durable: map[string]*inode{}}
}

func (dir *directory) change(n naming) {
	n.apply(dir.now)
	dir.pending = append(dir.pending, n)
}

func (dir *directory) sync() {
	dir.durable, dir.pending = maps.Clone(dir.now), nil
}

func (dir *directory) crash(rng *rand.Rand) {
	for _, n := range dir.pending[:rng.IntN(len(dir.pending)+1)] {
		n.apply(dir.durable)
	}
	dir.now, dir.pending = maps.Clone(dir.durable), nil
}

// clone copies the directory and its inodes; copies remembers those made already.
func (dir *directory) clone(copies map[*inode]*inode) *directory {
	copyOf := func(node *inode) *inode {
		if node == nil {
			return nil
		}
		if copies[node] == nil {
			copies[node] = node.clone()
		}
		return copies[node]
	}
	c := newDirectory()
	for name, node := range dir.now {
		c.now[name] = copyOf(node)
	}
	for name, node := range dir.durable {
		c.durable[name] = copyOf(node)
	}
	for _, n := range dir.pending {
		c.pending = append(c.pending, naming{n.gone, n.name, copyOf(n.node)})
	}
	return c
}

// find returns the directory that path is in, and path's name there.
func (d *Disk) find(path string) (*directory, string, bool) {
	path = filepath.Clean(path)
	dir, ok := d.dirs[filepath.Dir(path)]
	return dir, filepath.Base(path), ok
}
