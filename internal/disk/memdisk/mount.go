package memdisk

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kith-go/kith/internal/disk"
)

// mount is the device as a process sees it.
type mount struct {
	d    *Disk
	life int
}

// MkdirAll implements disk.FS; as there, what it made is durable.
func (m *mount) MkdirAll(dir string) error {
	return m.d.do(m.life, Mkdir, dir, func(fault error) error {
		if fault != nil {
			return &os.PathError{Op: "mkdir", Path: dir, Err: fault}
		}
		for path := filepath.Clean(dir); m.d.dirs[path] == nil; path = filepath.Dir(path) {
			m.d.dirs[path] = newDirectory()
		}
		return nil
	})
}

// Create implements disk.FS.
func (m *mount) Create(path string) (disk.File, error) {
	var h *handle
	err := m.d.do(m.life, Create, path, func(fault error) error {
		dir, name, ok := m.d.find(path)
		switch {
		case fault != nil:
		case !ok:
			fault = os.ErrNotExist
		case dir.now[name] != nil:
			fault = os.ErrExist
		}
		if fault != nil {
			return &os.PathError{Op: "create", Path: path, Err: fault}
		}
		node := &inode{}
		dir.change(naming{name: name, node: node})
		h = &handle{m, node, path, false}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Open implements disk.FS.
func (m *mount) Open(path string) (disk.File, error) {
	var h *handle
	err := m.d.do(m.life, Open, path, func(fault error) error {
		node, err := m.lookup(path, fault)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		h = &handle{m, node, path, false}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (m *mount) lookup(path string, fault error) (*inode, error) {
	dir, name, ok := m.d.find(path)
	switch {
	case fault != nil:
		return nil, fault
	case !ok || dir.now[name] == nil:
		return nil, os.ErrNotExist
	}
	return dir.now[name], nil
}

// Rename implements disk.FS.
func (m *mount) Rename(from, to string) error {
	return m.d.do(m.life, Rename, from, func(fault error) error {
		if fault == nil && filepath.Dir(from) != filepath.Dir(to) {
			fault = disk.ErrDirectories
		}
		node, err := m.lookup(from, fault)
		if err != nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
		dir, name, _ := m.d.find(from)
		dir.change(naming{gone: name, name: filepath.Base(to), node: node})
		return nil
	})
}

// Remove implements disk.FS.
func (m *mount) Remove(path string) error {
	return m.d.do(m.life, Remove, path, func(fault error) error {
		if _, err := m.lookup(path, fault); err != nil {
			return &os.PathError{Op: "remove", Path: path, Err: err}
		}
		dir, name, _ := m.d.find(path)
		dir.change(naming{gone: name})
		return nil
	})
}

// List implements disk.FS.
func (m *mount) List(dir string) (names []string, err error) {
	err = m.d.do(m.life, List, dir, func(fault error) error {
		dir = filepath.Clean(dir)
		if fault == nil && m.d.dirs[dir] == nil {
			fault = os.ErrNotExist
		}
		if fault != nil {
			return &os.PathError{Op: "list", Path: dir, Err: fault}
		}
		for name := range m.d.dirs[dir].now {
			names = append(names, name)
		}
		for path := range m.d.dirs {
			if path != dir && filepath.Dir(path) == dir {
				names = append(names, filepath.Base(path))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// SyncDir implements disk.FS.
func (m *mount) SyncDir(dir string) error {
	return m.d.do(m.life, SyncDir, dir, func(fault error) error {
		d := m.d.dirs[filepath.Clean(dir)]
		if fault == nil && d == nil {
			fault = os.ErrNotExist
		}
		if fault != nil {
			return &os.PathError{Op: "sync", Path: dir, Err: fault}
		}
		d.sync()
		return nil
	})
}

// lock is a lock that is held while the device's locks say so.
type lock struct {
	d    *Disk
	path string
}

// Lock implements disk.FS.
func (m *mount) Lock(path string) (io.Closer, error) {
	l := &lock{m.d, filepath.Clean(path)}
	err := m.d.do(m.life, Lock, path, func(fault error) error {
		dir, name, ok := m.d.find(path)
		if fault == nil && !ok {
			fault = os.ErrNotExist
		}
		if fault != nil {
			return &os.PathError{Op: "lock", Path: path, Err: fault}
		}
		if m.d.locks[l.path] != nil {
			return &disk.LockedError{Path: path, PID: os.Getpid()}
		}
		if dir.now[name] == nil {
			dir.change(naming{name: name, node: &inode{}})
		}
		m.d.locks[l.path] = l
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close gives the lock back; it does nothing after a Kill.
func (l *lock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.d.locks[l.path] == l {
		delete(l.d.locks, l.path)
	}
	return nil
}
