package founding

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kith-go/kith/internal/disk"
)

// Identity is what a state directory says of the node that it belongs to. Records
// in it are not to be changed.
type Identity struct {
	// Directory is drawn at random when the directory is first used. Who comes with
	// another one than before has lost its state.
	Directory string `json:"directory"`
	Name      string `json:"name"`
	// RaftID is 0 before the node's birth.
	RaftID uint64 `json:"raft_id,omitempty"`
	// Promise is the one record that the node may help to found; Record the one that
	// it was born in. At most one of the two is there.
	Promise *Record `json:"promise,omitempty"`
	Record  *Record `json:"record,omitempty"`
}

// born reports whether the node belongs to a cluster.
func (id Identity) born() bool { return id.Record != nil }

// fresh reports whether nothing binds the node.
func (id Identity) fresh() bool { return id.Record == nil && id.Promise == nil }

// Store keeps an identity. It is used by one goroutine at a time.
type Store interface {
	// Load returns what was saved last, and false if nothing ever was. What is
	// damaged is a *DamageError, never nothing.
	Load() (Identity, bool, error)
	// Save replaces what is there, atomically and durably. After an error it is not
	// known which of both is there.
	Save(Identity) error
}

// DamageError says that a state directory holds something other than what this
// node left there. Such a directory is not fresh: a node that lost its state and
// does not know it could break promises (SAFETY.md, S3).
type DamageError struct {
	File string
	What string
}

// Error names the file and what can be done.
func (e *DamageError) Error() string {
	return fmt.Sprintf("founding: %s: %s; this node's state is lost or in doubt: put the file back, or remove the state directory, "+
		"and the node is a new one to its cluster", e.File, e.What)
}

// identityFile is the file's name in the state directory.
const identityFile = "identity.json"

// maxIdentity bounds what is read into memory.
const maxIdentity = 64 << 20

// directory is a Store in a state directory.
type directory struct {
	fs    disk.FS
	dir   string
	state []string
}

// InDirectory returns the store in the state directory dir, which exists. state
// names the files and directories in it that only a node that was born makes: if
// one is there and no identity is, the identity was lost.
func InDirectory(fs disk.FS, dir string, state ...string) Store {
	return &directory{fs, dir, state}
}

// envelope is the file's JSON.
type envelope struct {
	Format   int             `json:"format"`
	SHA256   string          `json:"sha256"` // of Identity, compact
	Identity json.RawMessage `json:"identity"`
}

func (d *directory) path() string { return filepath.Join(d.dir, identityFile) }

func (d *directory) Load() (Identity, bool, error) {
	f, err := d.fs.Open(d.path())
	if errors.Is(err, os.ErrNotExist) {
		return Identity{}, false, d.unused()
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("founding: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return Identity{}, false, fmt.Errorf("founding: %w", err)
	}
	if size > maxIdentity {
		return Identity{}, false, &DamageError{d.path(), fmt.Sprintf("it has %d bytes", size)}
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return Identity{}, false, fmt.Errorf("founding: %s: %w", d.path(), err)
	}
	id, err := decodeIdentity(b)
	if err != nil {
		return Identity{}, false, &DamageError{d.path(), err.Error()}
	}
	// A process that died between the renaming and its fsync left what can be read and
	// is not durable yet. Nobody is to hear of it before it is.
	if err := d.fs.SyncDir(d.dir); err != nil {
		return Identity{}, false, fmt.Errorf("founding: %w", err)
	}
	return id, true, nil
}

// unused reports an error unless the directory was never used.
func (d *directory) unused() error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return fmt.Errorf("founding: %w", err)
	}
	for _, name := range names {
		if slices.Contains(d.state, name) {
			return &DamageError{d.path(), fmt.Sprintf("it is missing, and %s is there", name)}
		}
	}
	return nil
}

func (d *directory) Save(id Identity) error {
	b, err := encodeIdentity(id)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(d.fs, d.path(), b); err != nil {
		return fmt.Errorf("founding: %w", err)
	}
	return nil
}

func encodeIdentity(id Identity) ([]byte, error) {
	raw, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	b, err := json.MarshalIndent(envelope{Format: 1, SHA256: hex.EncodeToString(sum[:]), Identity: raw}, "", "  ")
	return append(b, '\n'), err
}

func decodeIdentity(b []byte) (Identity, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Identity{}, fmt.Errorf("it is not the JSON that was written: %w", err)
	}
	if e.Format != 1 {
		return Identity{}, fmt.Errorf("its format is %d: a newer release wrote it, or none", e.Format)
	}
	var raw bytes.Buffer
	if err := json.Compact(&raw, e.Identity); err != nil {
		return Identity{}, fmt.Errorf("it is not the JSON that was written: %w", err)
	}
	if sum := sha256.Sum256(raw.Bytes()); hex.EncodeToString(sum[:]) != strings.ToLower(e.SHA256) {
		return Identity{}, errors.New("its checksum does not fit")
	}
	var id Identity
	if err := json.Unmarshal(raw.Bytes(), &id); err != nil {
		return Identity{}, fmt.Errorf("it is not the JSON that was written: %w", err)
	}
	return id, id.check()
}

// check reports what is wrong with an identity that was read.
func (id Identity) check() error {
	if !validID(id.Directory) || id.Name == "" {
		return errors.New("the directory has no ID, or no name")
	}
	if id.Promise != nil && id.Record != nil {
		return errors.New("there are a promise and a record")
	}
	if err := errors.Join(id.Promise.check(), id.Record.check()); err != nil {
		return err
	}
	if id.Record == nil {
		return nil
	}
	if m, ok := id.Record.Member(id.Name); !ok || m.RaftID != id.RaftID {
		return fmt.Errorf("%s is not member %d of its own cluster", id.Name, id.RaftID)
	}
	return nil
}

// memory is the Store of a node without a directory.
type memory struct{}

func (memory) Load() (Identity, bool, error) { return Identity{}, false, nil }
func (memory) Save(Identity) error           { return nil }
