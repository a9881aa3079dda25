package secret

import (
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// CurvePair is a key pair for CURVE, ZeroMQ's encryption, as libzmq wants it:
// each half 40 characters of Z85 (ZeroMQ RFC 32).
type CurvePair struct {
	Public string
	// Secret must stay where it is used. The pair prints without it.
	Secret string
}

// String returns the public half.
func (p CurvePair) String() string { return "curve(" + p.Public + ")" }

// GoString returns the public half, for %#v.
func (p CurvePair) GoString() string { return "secret.CurvePair(" + p.Public + ")" }

// CurveServer returns the pair with which every node of the cluster accepts
// connections. It is one for all, so that a program outside the cluster needs to
// know only one; which node it reached it learns from the node's greeting.
func (k Key) CurveServer() CurvePair { return k.curve("curve-server/v1") }

// CurveNode returns the pair with which the node of the given name opens
// connections to others.
func (k Key) CurveNode(name string) CurvePair { return k.curve("curve-node/v1/" + name) }

// CurveClient returns the pair of a program outside the cluster. The nodes
// derive the public half from the names that they are told to admit; so a client
// never needs the cluster key, and a name taken off that list is shut out.
func (k Key) CurveClient(name string) CurvePair { return k.curve("curve-client/v1/" + name) }

// curve derives an X25519 pair. CURVE's keys are plain X25519 keys, and 32 random
// bytes are a private key of it: both libsodium and crypto/ecdh clamp them on use.
func (k Key) curve(purpose string) CurvePair {
	private, err := ecdh.X25519().NewPrivateKey(k.derive(purpose, 32))
	if err != nil {
		panic("secret: " + err.Error()) // only for another length than 32
	}
	return CurvePair{Public: z85(private.PublicKey().Bytes()), Secret: z85(private.Bytes())}
}

const z85Digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

// z85 encodes data, whose length is a multiple of 4.
func z85(data []byte) string {
	text := make([]byte, 0, len(data)/4*5)
	for ; len(data) >= 4; data = data[4:] {
		n := binary.BigEndian.Uint32(data)
		for _, unit := range [...]uint32{85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1} {
			text = append(text, z85Digits[n/unit%85])
		}
	}
	return string(text)
}

// CurveBytes decodes one half of a CurvePair into its 32 bytes, the form in which
// an authentication handler (ZeroMQ RFC 27) is shown a public key.
func CurveBytes(text string) ([]byte, error) {
	const want = Size / 4 * 5
	if len(text) != want {
		return nil, fmt.Errorf("secret: a CURVE key has %d characters, not %d", want, len(text))
	}
	data := make([]byte, 0, Size)
	for i := 0; i < want; i += 5 {
		var n uint64
		for _, c := range []byte(text[i : i+5]) {
			digit := strings.IndexByte(z85Digits, c)
			if digit < 0 {
				return nil, errNotZ85
			}
			n = n*85 + uint64(digit)
		}
		if n > 1<<32-1 {
			return nil, errNotZ85
		}
		data = binary.BigEndian.AppendUint32(data, uint32(n))
	}
	return data, nil
}

// errNotZ85 does not show the text: it may be a secret.
var errNotZ85 = errors.New("secret: a CURVE key is not Z85")
