package peers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// jsonValue draws a JSON value as text, deep or flat.
func jsonValue(depth int) *rapid.Generator[string] {
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "0", "-1.50", "1e3", "9007199254740993", "-0.0", `"<&>"`, `"\u00e9\n"`}),
		rapid.Custom(func(t *rapid.T) string {
			text, _ := json.Marshal(rapid.String().Draw(t, "string"))
			return string(text)
		}),
	)
	if depth == 0 {
		return scalar
	}
	return rapid.OneOf(scalar, rapid.Custom(func(t *rapid.T) string {
		return object(rapid.MapOfN(rapid.StringMatching(`[a-zé_]{1,6}`), jsonValue(depth-1), 0, 3).Draw(t, "object"))
	}), rapid.Custom(func(t *rapid.T) string {
		values := rapid.SliceOfN(jsonValue(depth-1), 0, 3).Draw(t, "array")
		return "[" + string(bytes.Join(bytesOf(values), []byte(","))) + "]"
	}))
}

func bytesOf(values []string) (all [][]byte) {
	for _, v := range values {
		all = append(all, []byte(v))
	}
	return all
}

func object(members map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(members)) {
		parts = append(parts, fmt.Sprintf("%q: %s", key, members[key]))
	}
	return "{" + string(bytes.Join(bytesOf(parts), []byte(", "))) + "}"
}

// fileText draws a file with keys that are known and others.
func fileText() *rapid.Generator[string] {
	peer := rapid.Custom(func(t *rapid.T) string {
		members := rapid.MapOfN(rapid.StringMatching(`x[a-z_]{0,5}`), jsonValue(2), 0, 3).Draw(t, "unknown")
		members["pid"] = fmt.Sprint(rapid.Uint32().Draw(t, "pid"))
		members["name"] = fmt.Sprintf("%q", rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "name"))
		members["ip_address"] = fmt.Sprintf("%q", rapid.SampledFrom([]string{"", "10.0.0.1", "::1", "no address"}).Draw(t, "address"))
		members["port"] = fmt.Sprint(rapid.Uint16().Draw(t, "port"))
		if rapid.Bool().Draw(t, "more") {
			members["control_port"] = fmt.Sprint(rapid.Uint16Min(1).Draw(t, "control_port"))
			members["aws_instance"] = `{"id": "i-1"}`
		}
		return object(members)
	})
	return rapid.Custom(func(t *rapid.T) string {
		members := rapid.MapOfN(rapid.StringMatching(`x[a-z_]{0,5}`), jsonValue(2), 0, 3).Draw(t, "unknown")
		members["info"] = object(rapid.MapOfN(rapid.String(), jsonValue(2), 0, 3).Filter(func(m map[string]string) bool {
			for key := range m {
				if text, _ := json.Marshal(key); string(text) != fmt.Sprintf("%q", key) {
					return false // Go and JSON quote it differently
				}
			}
			return true
		}).Draw(t, "info"))
		peers := rapid.SliceOfN(peer, 0, 4).Draw(t, "replicas")
		members["replicas"] = "[" + string(bytes.Join(bytesOf(peers), []byte(","))) + "]"
		return object(members)
	})
}

// exact decodes JSON without losing a digit.
func exact(t rapid.TB, text []byte) string {
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return fmt.Sprint(v)
}

func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, fileText().Draw(t, "file")) })
}

// TestRoundTripFound holds what the property found once.
func TestRoundTripFound(t *testing.T) {
	for _, text := range []string{
		`{"info": {"": -1.50}, "replicas": []}`,
	} {
		roundTrip(t, text)
	}
}

// roundTrip reads a file and writes it: nothing may be lost.
func roundTrip(t rapid.TB, file string) {
	t.Helper()
	text := []byte(file)
	list, err := decodePeers(text, "")
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	written, err := list.encodeFile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := exact(t, written), exact(t, text); got != want {
		t.Fatalf("written as\n%s\nwant\n%s", got, want)
	}
	again, err := decodePeers(written, "")
	if err != nil {
		t.Fatal(err)
	}
	if !list.same(again) || !list.same(list.Clone()) || !list.Diff(again).Empty() {
		t.Fatalf("read again as\n%v\nwant\n%v", again, list)
	}
}

// TestValidateProperty: what was added one by one is valid as a whole.
func TestValidateProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := new(Peers)
		added := 0
		for range rapid.IntRange(1, 12).Draw(t, "n") {
			p := &Peer{
				PID:         rapid.Uint32Range(0, 6).Draw(t, "pid"),
				Name:        rapid.StringMatching(`[a-f]{0,2}`).Draw(t, "name"),
				IPAddr:      rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "127.0.0.1", ""}).Draw(t, "address"),
				Hostname:    rapid.SampledFrom([]string{"localhost", "apollo"}).Draw(t, "hostname"),
				Port:        rapid.SampledFrom([]uint16{0, 4000, 5000, 6000, 65000}).Draw(t, "port"),
				ControlPort: rapid.SampledFrom([]uint16{0, 4000, 5000, 7000}).Draw(t, "control_port"),
			}
			trial := list.Clone()
			trial.Peers = append(trial.Peers, p)
			refused := list.Add(p)
			if wrong := trial.Validate(); (refused == nil) != (wrong == nil) {
				t.Fatalf("Add says %v, Validate says %v", refused, wrong)
			}
			if refused == nil {
				added++
			}
		}
		if err := list.Validate(); added > 0 && err != nil {
			t.Fatal(err)
		}
	})
}
