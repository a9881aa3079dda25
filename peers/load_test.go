package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLoadBad(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          []string // faults, as place: …: text within
	}{
		{"empty", "", []string{"1:1: there is nothing in it"}},
		{"blank", " \n\n ", []string{"1:1: there is nothing in it"}},
		{"truncated", "{\n  \"replicas\": [\n    {\"pid\": 1, \"na", []string{"3:18: the text ends in the middle"}},
		{"truncated after a value", `{"replicas": []`, []string{"1:15: the text ends in the middle"}},
		{"not JSON", "{\n\"info\": {},,\n}", []string{"2:12: not JSON: invalid character ','"}},
		{"YAML", "replicas:\n- pid: 1\n", []string{"1:1: not JSON: invalid character 'r'"}},
		{"not UTF-8", "{\"replicas\": [\n{\"name\": \"caf\xe9\"}]}", []string{"2:14: the text is not UTF-8"}},
		{"UTF-16", "\xff\xfe{\x00}\x00", []string{"1:1: the text is not UTF-8"}},
		{"array", "\n [{\"pid\": 1}]", []string{"2:2: an array where an object belongs"}},
		{"string", `"peers"`, []string{"1:1: a string where an object belongs"}},
		{"number", `12`, []string{"1:1: a number where an object belongs"}},
		{"null", `null`, []string{"1:1: null where an object belongs"}},
		{"trailing garbage", "{\"replicas\": []}\n}", []string{"2:1: not JSON: invalid character '}' after top-level value"}},
		{"two objects", "{} {}", []string{"1:4: not JSON: invalid character '{' after top-level value"}},
		{"replicas an object", `{"replicas": {"pid": 1}}`,
			[]string{"1:14: replicas: an object where an array of objects belongs"}},
		{"info an array", `{"info": [1], "replicas": [{"pid": 1, "name": "a", "hostname": "h", "port": 1}]}`,
			[]string{"1:10: info: an array where an object belongs"}},
		{"info with a huge number", `{"info": {"x": 1e999}, "replicas": [{"pid": 1, "name": "a", "hostname": "h", "port": 1}]}`,
			[]string{"1:10: info: 1e999 is out of the range"}},
		{"entries of other kinds", "{\"replicas\": [\nnull,\n\"a\",\n{\"pid\": 1, \"name\": \"a\", \"hostname\": \"h\", \"port\": 1}]}",
			[]string{"2:1: peer 1 of the list: null where an object belongs", "3:1: peer 2 of the list: a string where an object belongs"}},
		// Everything at once: what has the wrong type, and what is wrong besides.
		{"wrong types", `{"replicas": [
			{"pid": "1", "name": "a", "ip_address": "10.0.0.1", "port": 70000},
			{"pid": 2.5, "name": 7, "ip_address": "10.0.0.2", "port": -1, "control_port": "x"},
			{"pid": 3, "name": "c", "ip_address": true, "port": 0, "aws_instance": {"id": 1}},
			{"pid": 4, "name": "d", "hostname": "h", "port": 1, "aws_instance": "i"}
		]}`, []string{
			`2:12: peer "a": pid: a string where a number belongs`,
			`2:64: peer "a": port: 70000 is no port number`,
			`3:12: peer 2 of the list: pid: 2.5 is no precedence id`,
			`3:25: peer 2 of the list: name: a number where a string belongs`,
			`3:62: peer 2 of the list: port: -1 is no port number`,
			`3:82: peer 2 of the list: control_port: a string where a number belongs`,
			`4:42: peer "c" (pid 3): ip_address: a bool where a string belongs`,
			`4:48: peer "c" (pid 3): port: missing or 0`,
			`4:75: peer "c" (pid 3): aws_instance: a number where a string belongs`,
			`5:72: peer "d" (pid 4): aws_instance: a string where an object belongs`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := inDir(t, test.content)
			list := some(2)
			before := string(encoded(t, list))
			err := list.Load(path)
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok {
				t.Fatalf("error is %v, want an InvalidError", err)
			}
			if invalid.Path != path || !strings.Contains(err.Error(), path+":") {
				t.Errorf("error does not name %s: %v", path, err)
			}
			matchFaults(t, invalid.Faults, test.want)
			if got := string(encoded(t, list)); got != before || list.Source() != "" {
				t.Errorf("the failed load left\n%s", got)
			}
			if list, err := LoadFrom(path); err == nil || list == nil || len(list.Peers) != 0 || list.Source() != "" {
				t.Errorf("LoadFrom returned %+v, %v", list, err)
			}
		})
	}
}

// matchFaults compares faults with the beginnings of their texts.
func matchFaults(t *testing.T, faults []Fault, want []string) {
	t.Helper()
	var got []string
	for _, f := range faults {
		got = append(got, f.String())
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("faults are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// TestSyntaxHints: the slips of those who edit JSON by hand.
func TestSyntaxHints(t *testing.T) {
	const missing, last, comment = "a comma is missing before it", "remove the last comma", "JSON has no comments"
	const quotes, behind = "use double quotes", "remove what follows the closing brace"
	for text, want := range map[string]string{
		"{\"info\": {}\n\"replicas\": []}": missing,
		`{"replicas": [{} {}]}`:            missing,
		`{"replicas": [1 2]}`:              missing,
		`{"replicas": ["a" "b"]}`:          missing,
		"{\"replicas\": [{},\n]}":          last,
		"{\"replicas\": [],\r\n\t}":        last,
		"{ // the list\n}":                 comment,
		`{"replicas": [] /* none */}`:      comment,
		"# peers\n{}":                      comment,
		"{\"replicas\": [{}, # one\n]}":    comment,
		`{'replicas': []}`:                 quotes,
		`{"replicas": ['a']}`:              quotes,
		`{replicas: []}`:                   quotes,
		`{} {}`:                            behind,
		`{} // done`:                       comment,
		// Nothing is said where a guess could mislead.
		`{"a": "say "hi""}`: "",
		`{"a": "it's #1`:    "it was cut off, or is still being written",
		"{\"a\": \"x\n#\"}": "",
		`{"a": 1/2}`:        comment,
		`{"a": tru/}`:       "",
		`{,}`:               "",
		`}`:                 "",
		`replicas:`:         "",
	} {
		_, err := decodePeers([]byte(text), "")
		invalid, ok := errors.AsType[*InvalidError](err)
		if !ok || len(invalid.Faults) != 1 || invalid.Faults[0].Hint != want {
			t.Errorf("%s\ngives %v, want the hint %q", text, err, want)
		}
	}
}

func TestLoadSyntaxCause(t *testing.T) {
	_, err := LoadFrom(inDir(t, "{]"))
	if _, ok := errors.AsType[*json.SyntaxError](err); !ok {
		t.Errorf("no json.SyntaxError in %v", err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.json")
	if _, err := LoadFrom(missing); !errors.Is(err, fs.ErrNotExist) || !os.IsNotExist(err) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := LoadFrom(dir); err == nil || !strings.Contains(err.Error(), dir+" is a directory") {
		t.Errorf("directory: %v", err)
	}
	below := filepath.Join(inDir(t, "{}"), "peers.json")
	if _, err := LoadFrom(below); err == nil || !strings.Contains(err.Error(), below) {
		t.Errorf("below a file: %v", err)
	}
	loop := filepath.Join(dir, "loop.json")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFrom(loop); err == nil || !strings.Contains(err.Error(), loop) {
		t.Errorf("loop of links: %v", err)
	}
}

func TestLoadUnreadableMode(t *testing.T) {
	path := inDir(t, "{}")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err == nil {
		f.Close()
		t.Skip("this user may read everything; the watch tests inject the error")
	}
	if _, err := LoadFrom(path); !errors.Is(err, fs.ErrPermission) || !os.IsPermission(err) {
		t.Errorf("unreadable file: %v", err)
	}
}

func TestLoadTooLarge(t *testing.T) {
	path := inDir(t, `{"replicas": []}`)
	if err := os.Truncate(path, 100<<20); err != nil { // sparse
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := LoadFrom(path)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), path) {
		t.Errorf("100 MiB: %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("refusing 100 MiB took %d bytes", took)
	}
	// The most there may be: whitespace is JSON.
	content := append([]byte(`{"replicas": []}`), make([]byte, MaxFileSize-16)...)
	for i := 16; i < len(content); i++ {
		content[i] = ' '
	}
	write(t, path, content)
	if _, err := LoadFrom(path); err != nil {
		t.Errorf("16 MiB: %v", err)
	}
	write(t, path, append(content, ' '))
	if _, err := LoadFrom(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestLoadLenient(t *testing.T) {
	for _, test := range []struct{ name, content string }{
		{"byte order mark", "\ufeff" + `{"replicas": [{"pid": 1, "name": "alpha"}]}`},
		{"other case", `{"Replicas": [{"PID": 1, "Name": "alpha"}]}`},
		{"nulls", `{"info": null, "replicas": [{"pid": 1, "name": "alpha", "port": null, "aws_instance": null}]}`},
		{"the last of two", `{"replicas": [{"pid": 2, "pid": 1, "name": "x", "Name": "alpha"}]}`},
		{"Windows lines", "{\r\n\"replicas\": [{\r\n\"pid\": 1, \"name\": \"alpha\"}]}\r\n"},
	} {
		list, err := LoadFrom(inDir(t, test.content))
		if err != nil || len(list.Peers) != 1 || list.Peers[0].PID != 1 || list.Peers[0].Name != "alpha" {
			t.Errorf("%s: loaded %+v, %v", test.name, list, err)
		}
	}
	list, err := LoadFrom(inDir(t, `{}`))
	if err != nil || len(list.Peers) != 0 {
		t.Errorf("empty object: %+v, %v", list, err)
	}
}

func TestUnmarshal(t *testing.T) {
	var holder struct {
		List  Peers
		Peer  *Peer
		Plain Peer
	}
	const text = `{"List":{"info":{"n":9007199254740993},"replicas":[{"pid":1,"name":"a","ip_address":"","port":0,"x":1}],"y":2},` +
		`"Peer":{"pid":2,"name":"b","ip_address":"","port":0,"z":{"big":9007199254740993}},"Plain":{"pid":3,"name":"c","ip_address":"","port":0,"w":null}}`
	if err := json.Unmarshal([]byte(text), &holder); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(holder)
	if err != nil || string(got) != text {
		t.Errorf("round trip gave %s, %v, want %s", got, err, text)
	}
	before := holder.Plain
	if err := json.Unmarshal([]byte(`{"name": "changed", "pid": "x"}`), &holder.Plain); err == nil || holder.Plain.Name != before.Name {
		t.Errorf("a bad peer left %+v, %v", holder.Plain, err)
	}
	if err := json.Unmarshal([]byte(`null`), &holder.List); err != nil || len(holder.List.Peers) != 1 {
		t.Errorf("null left %+v, %v", holder.List, err)
	}
	if err := json.Unmarshal([]byte(`null`), &holder.Plain); err != nil || holder.Plain.Name != "c" {
		t.Errorf("null left %+v, %v", holder.Plain, err)
	}
}

func TestRoundTripFile(t *testing.T) {
	path := inDir(t, read(t, "testdata/annotated.json"))
	list, err := LoadFrom(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := list.Info["ratio"]; got != 1.5 {
		t.Errorf("ratio is %v (%T) for a reader", got, got)
	}
	if err := list.Dump(""); err != nil {
		t.Fatal(err)
	}
	var want, got any
	for text, value := range map[string]*any{read(t, "testdata/annotated.json"): &want, read(t, path): &got} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(value); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("round trip gave\n%v\nwant\n%v", got, want)
	}
	// What was changed is written as it is now, the rest as it was.
	list.Info["ratio"] = 2.5
	list.Info["nested"].(map[string]any)["big"].([]any)[1] = "two"
	list.Info["new"] = 7
	text := string(encoded(t, list))
	for _, want := range []string{`"ratio": 2.5`, `"two"`, `18446744073709551615`, `"revision": 9007199254740993`, `"new": 7`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

func TestLargeFault(t *testing.T) {
	list := some(1)
	for range 500 {
		list.Peers = append(list.Peers, &Peer{})
	}
	err := list.Validate()
	invalid, _ := errors.AsType[*InvalidError](err)
	if n := len(invalid.Faults); n != maxFaults {
		t.Errorf("%d faults", n)
	}
	text := err.Error()
	if !strings.HasPrefix(text, "peers: the list has 1000 or more faults:\npeer 2 of") ||
		strings.Count(text, "\n") != maxFaultLines+1 || !strings.HasSuffix(text, "\nand 900 more") {
		t.Errorf("the text is %s", text)
	}
}

// TestLoadHostile: what a text of the largest size can hold is bounded.
func TestLoadHostile(t *testing.T) {
	fill := func(begin, part, end string) []byte {
		n := (MaxFileSize/16 - len(begin) - len(end)) / len(part)
		return []byte(begin + strings.Repeat(part, n) + end)
	}
	for _, test := range []struct {
		name string
		text []byte
		want string
	}{
		{"empty peers", fill(`{"replicas": [{}`, ",{}", "]}"), "the list has more than 100000 peers"},
		{"no peers", fill(`{"replicas": [1`, ",1", "]}"), "the list has more than 100000 peers"},
		{"one key", fill(`{"a": 1`, `,"a":1`, "}"), "1000 or more faults"},
		{"one key inside", fill(`{"info": {"a": 1`, `,"a":[]`, "}}"), "1000 or more faults"},
		{"a deep value", []byte(`{"info": ` + strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9001)), "the list is empty"},
		{"a deeper one", fill(`{"info": `, "[", ""), "exceeded max depth"},
	} {
		list, err := decodePeers(test.text, "")
		if err == nil {
			err = list.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %.200v, want %q", test.name, err, test.want)
		}
	}
}
