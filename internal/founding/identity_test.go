package founding

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kith-go/kith/internal/disk"
	"github.com/kith-go/kith/internal/disk/memdisk"
)

func TestIdentitySurvives(t *testing.T) {
	rec := recordOf(nil, phonetic[:4]...)
	d := freshDisk()
	store := InDirectory(d.Mount(), stateDir, "wal")
	if id, found, err := store.Load(); err != nil || found {
		t.Fatalf("an empty directory has %+v, %v", id, err)
	}
	fresh := Identity{Directory: directoryOf("bravo"), Name: "bravo"}
	bound := fresh
	bound.Promise = rec
	for what, id := range map[string]Identity{"fresh": fresh, "bound": bound, "born": install(bound, rec)} {
		if err := store.Save(id); err != nil {
			t.Fatal(err)
		}
		got, found, err := store.Load()
		if err != nil || !found || string(encode(got)) != string(encode(id)) {
			t.Errorf("%s: %s became %s, %v", what, encode(id), encode(got), err)
		}
	}
}

// TestDamagedIdentityIsNotFresh: no byte of the file can change unnoticed.
func TestDamagedIdentityIsNotFresh(t *testing.T) {
	rec := recordOf(nil, phonetic[:3]...)
	id := install(Identity{Directory: directoryOf("bravo"), Name: "bravo"}, rec)
	good, err := encodeIdentity(id)
	if err != nil {
		t.Fatal(err)
	}
	d := freshDisk()
	fs := d.Mount()
	path := filepath.Join(stateDir, identityFile)
	load := func(b []byte) (Identity, error) {
		if err := disk.WriteFile(fs, path, b); err != nil {
			t.Fatal(err)
		}
		id, _, err := InDirectory(fs, stateDir).Load()
		return id, err
	}
	damaged := func(what string, b []byte) {
		got, err := load(b)
		if err == nil && string(encode(got)) == string(encode(id)) {
			return // white space, or the case of a digit
		}
		if damage, ok := errors.AsType[*DamageError](err); !ok || damage.File != path || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want a DamageError", what, err)
		}
	}
	for i := range good {
		for _, flip := range []byte{1, 0x20, 0x80} {
			b := slices.Clone(good)
			b[i] ^= flip
			damaged("a flipped bit", b)
		}
		damaged("a cut", good[:i])
	}
	damaged("nothing", nil)
	future := strings.Replace(string(good), `"format": 1`, `"format": 2`, 1)
	damaged("a newer format", []byte(future))
	// Well-formed, and nonsense: what a faulty release might write.
	for what, edit := range map[string]func(*Identity){
		"both":       func(id *Identity) { id.Promise = rec },
		"not in it":  func(id *Identity) { id.Name = "zulu" },
		"another ID": func(id *Identity) { id.RaftID = 3 },
		"no name":    func(id *Identity) { id.Name = "" },
	} {
		wrong := id
		edit(&wrong)
		b, err := encodeIdentity(wrong)
		if err != nil {
			t.Fatal(err)
		}
		damaged(what, b)
	}
}

// TestMissingIdentityIsNotFresh: a directory with a log and without an identity has
// lost it.
func TestMissingIdentityIsNotFresh(t *testing.T) {
	fs := freshDisk().Mount()
	for _, name := range []string{"peers.json", "lock"} {
		if err := disk.WriteFile(fs, filepath.Join(stateDir, name), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := InDirectory(fs, stateDir, "wal").Load(); found || err != nil {
		t.Errorf("beside other files: %v, %v", found, err)
	}
	if err := fs.MkdirAll(filepath.Join(stateDir, "wal")); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Name: "alpha", Peers: peersOf("alpha"), Store: InDirectory(fs, stateDir, "wal")})
	if _, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(err.Error(), "wal is there") {
		t.Errorf("beside a log: %v, want a DamageError", err)
	}
}

func TestDirectoryOfAnotherNode(t *testing.T) {
	rec := recordOf(nil, phonetic[:3]...)
	fs := freshDisk().Mount()
	store := InDirectory(fs, stateDir)
	fresh := Identity{Directory: directoryOf("bravo"), Name: "bravo"}
	open := func(id Identity) (*Founder, error) {
		if err := store.Save(id); err != nil {
			t.Fatal(err)
		}
		return New(Config{Name: "alpha", Peers: peersOf(phonetic[:3]...), Store: store})
	}
	for _, id := range []Identity{install(fresh, rec), {Directory: fresh.Directory, Name: "bravo", Promise: rec}} {
		if _, err := open(id); !errors.Is(err, ErrOtherNode) {
			t.Errorf("%v, want ErrOtherNode", err)
		}
	}
	f, err := open(fresh)
	if err != nil || f.Identity().Name != "alpha" || f.Identity().Directory != fresh.Directory {
		t.Errorf("a fresh one: %v, %v", f.Identity(), err)
	}
	if id, _, _ := store.Load(); id.Name != "alpha" {
		t.Errorf("the disk still says %s", id.Name)
	}
}

// TestUnreadableDisk: what cannot be read is not taken for nothing.
func TestUnreadableDisk(t *testing.T) {
	for _, kind := range []memdisk.Kind{memdisk.Open, memdisk.Read, memdisk.SyncDir} {
		d := freshDisk()
		store := InDirectory(d.Mount(), stateDir)
		if err := store.Save(Identity{Directory: directoryOf("alpha"), Name: "alpha"}); err != nil {
			t.Fatal(err)
		}
		d.Fail(kind, 1, errRefused)
		if _, err := New(Config{Name: "alpha", Peers: peersOf("alpha"), Store: store}); !errors.Is(err, errRefused) {
			t.Errorf("%v: %v", kind, err)
		}
	}
	d := freshDisk()
	d.Fail(memdisk.List, 1, errRefused)
	if _, err := New(Config{Name: "alpha", Peers: peersOf("alpha"), Store: InDirectory(d.Mount(), stateDir)}); !errors.Is(err, errRefused) {
		t.Errorf("list: %v", err)
	}
}

func FuzzDecodeIdentity(f *testing.F) {
	rec := fixed()
	for _, id := range []Identity{{}, {Promise: rec}, install(Identity{Name: "bravo"}, rec)} {
		id.Directory, id.Name = directoryOf("bravo"), "bravo"
		b, err := encodeIdentity(id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format":1,"sha256":"","identity":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity(b)
		if err != nil {
			return
		}
		again, err := encodeIdentity(id)
		if err != nil {
			t.Fatal(err)
		}
		if id2, err := decodeIdentity(again); err != nil || string(encode(id2)) != string(encode(id)) {
			t.Errorf("%s became %s, %v", encode(id), encode(id2), err)
		}
	})
}
