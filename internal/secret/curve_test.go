package secret

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// TestZ85 checks the example of RFC 32 and that of libzmq's manual (zmq_curve).
func TestZ85(t *testing.T) {
	if got := z85([]byte{0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B}); got != "HelloWorld" {
		t.Errorf("z85 = %q, want HelloWorld", got)
	}
	const text = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
	want, _ := hex.DecodeString("54fcba24e93249969316fb617c872bb0c1d1ff14800427c594cbfacf1bc2d652")
	got, err := CurveBytes(text)
	if err != nil || !bytes.Equal(got, want) || z85(got) != text {
		t.Errorf("CurveBytes(%q) = %x, %v; want %x", text, got, err, want)
	}
	for name, bad := range map[string]string{
		"short":       text[1:],
		"long":        text + "0",
		"other signs": strings.Replace(text, "r", "~", 1),
		"too large":   "#####" + text[5:],
	} {
		if _, err := CurveBytes(bad); err == nil {
			t.Errorf("%s: decoded", name)
		} else if strings.Contains(err.Error(), text[10:20]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestCurvePairsBelongTogether(t *testing.T) {
	k := NewKey()
	for name, pair := range map[string]CurvePair{
		"server": k.CurveServer(), "node": k.CurveNode("alpha"), "client": k.CurveClient("alpha"),
	} {
		secret, err := CurveBytes(pair.Secret)
		if err != nil {
			t.Fatal(name, err)
		}
		private, err := ecdh.X25519().NewPrivateKey(secret)
		if err != nil {
			t.Fatal(name, err)
		}
		public, err := CurveBytes(pair.Public)
		if err != nil || !bytes.Equal(public, private.PublicKey().Bytes()) {
			t.Errorf("%s: the halves do not belong together: %v", name, err)
		}
	}
}

func TestCurvePairsDiffer(t *testing.T) {
	a, b := NewKey(), NewKey()
	seen := map[string]string{}
	for name, pair := range map[string]CurvePair{
		"a server": a.CurveServer(), "a node x": a.CurveNode("x"), "a node y": a.CurveNode("y"),
		"a client x": a.CurveClient("x"), "a client none": a.CurveClient(""), "b server": b.CurveServer(), "b node x": b.CurveNode("x"),
	} {
		if other, twice := seen[pair.Public]; twice {
			t.Errorf("%s and %s share a pair", name, other)
		}
		seen[pair.Public] = name
	}
	if again := a.CurveNode("x"); seen[again.Public] != "a node x" {
		t.Error("the pair depends on something else than key and name")
	}
}

// TestCurveIsFrozen keeps nodes of different releases, and clients' stored keys,
// able to talk.
func TestCurveIsFrozen(t *testing.T) {
	k := Key{b: [Size]byte{1, 2, 3}}
	for want, got := range map[string]string{
		"+bf=Q{6qZ=kF2qhmE+hm>ayLuk0oJIovghy10s7M": k.CurveServer().Public,
		"H?ANE?m}=[MG96&Mvv[7[?.&M:IjP!t@/L00bFuF": k.CurveNode("alpha").Public,
		"uPJPxWA@j(sLup!PS7^skSO[nVl[c)cJdMTdbvc9": k.CurveClient("alpha").Public,
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestCurvePairHidesItsSecret(t *testing.T) {
	pair := NewKey().CurveClient("alpha")
	text := fmt.Sprintf("%v %+v %#v %s %v", pair, pair, pair, pair, &pair)
	if strings.Contains(text, pair.Secret) {
		t.Errorf("the secret half shows: %s", text)
	}
}
