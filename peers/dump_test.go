//go:build unix

package peers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// names returns what is in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestDumpPermissions(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)

	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "peers.json")
	if err := some(1).Dump(path); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o644, dir: os.ModeDir | 0o755} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	chowned := os.Chown(path, 12345, 12346) == nil
	if err := some(2).Dump(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("an existing file got mode %v, %v", info.Mode(), err)
	}
	if stat := info.Sys().(*syscall.Stat_t); chowned && (stat.Uid != 12345 || stat.Gid != 12346) {
		t.Errorf("an existing file got owner %d:%d", stat.Uid, stat.Gid)
	}
	if text := read(t, path); !strings.HasSuffix(text, "}\n") || !strings.Contains(text, "\n  \"replicas\": [\n    {\n") {
		t.Errorf("written as\n%s", text)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
}

func TestDumpThroughLinks(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"real", "links"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	target := filepath.Join(dir, "real", "target.json")
	first, second := filepath.Join(dir, "links", "peers.json"), filepath.Join(dir, "links", "second")
	for link, to := range map[string]string{first: "second", second: "../real/./target.json"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	// At first the link dangles.
	for n := 1; n <= 2; n++ {
		if err := some(n).Dump(first); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{first, second, target} {
			if list, err := LoadFrom(path); err != nil || len(list.Peers) != n {
				t.Errorf("%s holds %v, %v", path, list, err)
			}
		}
		if info, err := os.Lstat(first); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link became %v, %v", info.Mode(), err)
		}
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := some(1).Dump(loop); err == nil {
		t.Error("wrote through a loop of links")
	}
}

func TestDumpRefuses(t *testing.T) {
	path := inDir(t, "old")
	dir := filepath.Dir(path)
	for _, test := range []struct {
		name string
		list *Peers
		path string
		want string
	}{
		{"directory", some(1), dir, "is a directory"},
		{"below a file", some(1), filepath.Join(path, "x", "peers.json"), path},
		{"name not UTF-8", &Peers{Peers: []*Peer{{Name: "\xff"}}}, path, "name of peer 1 of the list is not UTF-8"},
		{"info not UTF-8", &Peers{Info: map[string]any{"a": []any{"\xff"}}}, path, "info is not UTF-8"},
		{"info key not UTF-8", &Peers{Info: map[string]any{"a": map[string]any{"\xff": 1}}}, path, "info is not UTF-8"},
		{"info no JSON", &Peers{Info: map[string]any{"a": func() {}}}, path, "cannot write the list"},
	} {
		err := test.list.Dump(test.path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "peers: ") {
			t.Errorf("%s: error is %v", test.name, err)
		}
	}
	if got := read(t, path); got != "old" {
		t.Errorf("a refused dump left %q", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
}

// TestDumpDurable: the file and then its directory go down to the disk.
func TestDumpDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	var synced []string
	fsync = func(f *os.File) error {
		name := "directory"
		if info, err := f.Stat(); err != nil || !info.IsDir() {
			name = "file"
		}
		if _, err := os.Stat(path); err == nil {
			name += " after the rename"
		}
		synced = append(synced, name)
		return f.Sync()
	}
	defer func() { fsync = (*os.File).Sync }()
	must(t, some(1).Dump(path))
	if got := strings.Join(synced, ", "); got != "file, directory after the rename" {
		t.Errorf("synced %s", got)
	}

	synced = nil
	fsync = func(*os.File) error { return syscall.EIO }
	if err := some(2).Dump(path); !errors.Is(err, syscall.EIO) {
		t.Errorf("error is %v", err)
	}
	if list, err := LoadFrom(path); err != nil || len(list.Peers) != 1 || len(names(t, filepath.Dir(path))) != 1 {
		t.Errorf("left behind: %v, %v, %q", list, err, names(t, filepath.Dir(path)))
	}
}

// TestDumpNoRename: a rename that fails leaves nothing behind.
func TestDumpNoRename(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "peers.json")
	must(t, os.MkdirAll(filepath.Join(target, "full"), 0o755))
	if err := replaceFile(target, []byte("{}"), nil); err == nil {
		t.Error("replaced a directory")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %q", got)
	}
}

// TestDumpMountPoint: a file that is mounted is written in place, and only that.
func TestDumpMountPoint(t *testing.T) {
	path := inDir(t, string(encoded(t, some(9))))
	before, err := os.Stat(path)
	must(t, err)
	var cause error
	renameFile = func(from, to string) error { return &os.LinkError{Op: "rename", Old: from, New: to, Err: cause} }
	defer func() { renameFile = os.Rename }()
	synced := 0
	fsync = func(f *os.File) error { synced++; return f.Sync() }
	defer func() { fsync = (*os.File).Sync }()

	cause = syscall.EXDEV
	if err := some(2).Dump(path); !errors.Is(err, cause) {
		t.Errorf("error is %v", err)
	}
	if list, err := LoadFrom(path); err != nil || len(list.Peers) != 9 {
		t.Errorf("the file holds %v, %v", list, err)
	}
	cause, synced = syscall.EBUSY, 0
	must(t, some(2).Dump(path))
	if got := read(t, path); got != string(encoded(t, some(2))) || synced != 2 {
		t.Errorf("synced %d times, the file holds\n%s", synced, got)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || len(names(t, filepath.Dir(path))) != 1 {
		t.Errorf("%v, left behind: %q", err, names(t, filepath.Dir(path)))
	}
}

func TestDumpToDevice(t *testing.T) {
	if err := some(1).Dump(os.DevNull); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Fatalf("%s is %v, %v now", os.DevNull, info.Mode(), err)
	}
}

// TestDumpAtomic: whoever reads while another writes sees one list or the other.
func TestDumpAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	lists := []*Peers{some(1), some(400)}
	if err := lists[0].Dump(path); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			list, err := LoadFrom(path)
			if n := len(list.Peers); err != nil || n != 1 && n != 400 {
				t.Errorf("read %d peers, %v", n, err)
				return
			}
		}
	})
	for i := range 60 {
		if err := lists[i%2].Dump(path); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	reader.Wait()
}
