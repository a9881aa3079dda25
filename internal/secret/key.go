// Package secret holds the cluster key and everything that is derived from it.
//
// A cluster has one key of 32 random bytes. Whoever holds it belongs to the
// cluster, whoever does not cannot speak to any of its nodes. Each use has a key
// of its own, derived with HKDF-SHA256 (RFC 5869) and a purpose string, so that
// no use can weaken another:
//
//   - [Key.Gossip]: AES-256-GCM for gossip packets;
//   - [Key.TLS]: a certificate authority for TLS 1.3 in both directions on the
//     control port. The authority is the same on every node; leaf certificates
//     are minted in memory at start and never written down;
//   - [Key.CurveServer], [Key.CurveNode], [Key.CurveClient]: key pairs for CURVE
//     on the message port: of all nodes, of one node, of a program outside.
package secret

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
)

// Size is the length of a key in bytes.
const Size = 32

const (
	prefix      = "kith1-"
	sumSize     = 4
	maxFileSize = 4 << 10
)

// ErrMalformed marks text that is not a key.
var ErrMalformed = errors.New("secret: malformed key")

// ErrExposed marks a key file that others than its owner may read.
var ErrExposed = errors.New("secret: key file is readable by others")

// Key is a cluster key. The zero Key is "no key": see [Key.IsZero].
//
// It prints as a placeholder, also through fmt and slog, so that it cannot slip
// into a log; [Key.Text] is the way to write one down.
type Key struct{ b [Size]byte }

// NewKey returns a fresh random key.
func NewKey() Key {
	var k Key
	rand.Read(k.b[:]) // never fails (crypto/rand)
	return k
}

// IsZero reports whether k is "no key".
func (k Key) IsZero() bool { return k == Key{} }

// Text returns the form in which people store k: "kith1-" and 48 characters of
// unpadded URL-safe base64, holding the key and four bytes of its SHA-256 sum,
// so that a truncated or mistyped key is told from a wrong one.
func (k Key) Text() string {
	sum := sha256.Sum256(k.b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(append(k.b[:], sum[:sumSize]...))
}

// String returns a placeholder.
func (k Key) String() string {
	if k.IsZero() {
		return "no key"
	}
	return "key(hidden)"
}

// GoString returns a placeholder, for %#v.
func (k Key) GoString() string { return "secret.Key(" + k.String() + ")" }

// Format writes the placeholder for every verb, so that %x or %v of a struct
// around k cannot show it.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue returns the placeholder.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Parse reads a key in the form of [Key.Text]; white space around it is
// ignored. Errors are ErrMalformed and never show the text.
func Parse(text string) (Key, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Key{}, fmt.Errorf("%w: it is empty; `kith keygen` prints one", ErrMalformed)
	case !strings.HasPrefix(text, prefix):
		return Key{}, fmt.Errorf("%w: it does not begin with %q; `kith keygen` prints one", ErrMalformed, prefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[len(prefix):])
	if err != nil || len(raw) != Size+sumSize {
		return Key{}, fmt.Errorf("%w: %d characters behind %q where 48 of A-Z a-z 0-9 - _ belong: truncated or mistyped",
			ErrMalformed, len(text)-len(prefix), prefix)
	}
	k := Key{b: [Size]byte(raw[:Size])}
	if sum := sha256.Sum256(k.b[:]); string(sum[:sumSize]) != string(raw[Size:]) {
		return Key{}, fmt.Errorf("%w: its check sum does not fit: mistyped", ErrMalformed)
	}
	if k.IsZero() {
		return Key{}, fmt.Errorf("%w: all zero", ErrMalformed)
	}
	return k, nil
}

// Load reads a key file. The file must hold one key and be readable by its owner
// only (mode & 077 == 0; not checked on Windows). Errors name the path and
// wrap ErrMalformed, ErrExposed or the file system's own error.
func Load(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("secret: %w", err)
	}
	if info.IsDir() {
		return Key{}, fmt.Errorf("secret: key file %s is a directory", path)
	}
	if err := checkMode(path, info); err != nil {
		return Key{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return Key{}, fmt.Errorf("secret: %w", err)
	}
	if len(text) > maxFileSize {
		return Key{}, fmt.Errorf("%w: %s is larger than %d bytes", ErrMalformed, path, maxFileSize)
	}
	k, err := Parse(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("%w (file %s)", err, path)
	}
	return k, nil
}

func checkMode(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; mend it with: chmod 600 %s", ErrExposed, path, mode, path)
	}
	return nil
}

// derive returns n bytes for one purpose. Purposes carry a version, so that a
// change of what is made of them cannot meet the old one half-way.
func (k Key) derive(purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, k.b[:], nil, "kith/"+purpose, n)
	if err != nil {
		panic("secret: " + err.Error()) // only for lengths beyond 8160 bytes
	}
	return out
}

// Gossip returns the 32-byte AES key for gossip packets.
func (k Key) Gossip() []byte { return k.derive("gossip/v1", 32) }
