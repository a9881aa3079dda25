package peers

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDiff(t *testing.T) {
	old, err := LoadFrom("testdata/annotated.json")
	if err != nil {
		t.Fatal(err)
	}
	old.Peers = append(old.Peers, &Peer{PID: 9, Name: "gone", IPAddr: "10.0.0.9", Port: 1}, &Peer{PID: 8, Name: "also-gone", Port: 1})
	next := old.Clone()
	next.Peers = next.Peers[:2]
	next.Info = nil // not looked at
	slices.Reverse(next.Peers)
	next.Peers[1].Port = 4000
	next.Peers[1].Domain = "alpha.example.com"
	next.Peers[1].extra = []member{{"rack", json.RawMessage(`{"row":9007199254740993,"unit":"b & c"}`)}, {"shelf", json.RawMessage(`2`)}}
	next.Peers[0].extra = nil // had a weight
	next.Peers = append(next.Peers, &Peer{PID: 7, Name: "new", IPAddr: "2001:db8::7", Port: 2})

	d := old.Diff(next)
	if d.Empty() || len(d.Added) != 1 || len(d.Removed) != 2 || len(d.Changed) != 2 {
		t.Fatalf("difference is %+v", d)
	}
	if got := d.Changed[0].Fields; !slices.Equal(got, []string{"domain", "port", "shelf"}) {
		t.Errorf("alpha changed in %q", got)
	}
	const want = `+ new (pid 7) [2001:db8::7]:2
- also-gone (pid 8) :1
- gone (pid 9) 10.0.0.9:1
~ alpha (pid 1) domain - → alpha.example.com, port 3264 → 4000, shelf - → 2
~ bravo (pid 2) weight 1.0 → -`
	if got := d.String(); got != want {
		t.Errorf("difference is\n%s\nwant\n%s", got, want)
	}

	// The lists are copies, in both directions.
	d.Added[0].Name = "x"
	d.Changed[0].New.AWSInstance = map[string]string{}
	if next.Peers[2].Name != "new" || next.Peers[1].AWSInstance != nil {
		t.Error("the difference shares its peers with the list")
	}
	if d := old.Diff(old.Clone()); !d.Empty() || d.String() != "" {
		t.Errorf("nothing changed, and the difference is %s", d)
	}
	if data, err := json.Marshal(Diff{}); err != nil || string(data) != "{}" {
		t.Errorf("no difference is encoded as %s, %v", data, err)
	}
	if got := (*Peers)(nil).Diff(some(3)); len(got.Added) != 3 {
		t.Errorf("from nil: %+v", got)
	}
}

func TestDiffJSON(t *testing.T) {
	old, next := some(3), some(4)
	next.Peers = next.Peers[1:]
	next.Peers[0].Port++
	want := old.Diff(next)
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Diff
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("decoded as\n%s\nwant\n%s", got, want)
	}
	_ = Diff{Changed: []Edit{{}}}.String() // which nobody should have made, and must not panic
}

func TestEdit(t *testing.T) {
	list := some(2)
	list.Info = map[string]any{"num_replicas": float64(2), "updated": "2017-07-12T10:21:33-04:00"}
	charlie := &Peer{PID: 3, Name: "charlie", IPAddr: "10.0.0.3", Port: 3264}

	if err := list.Add(charlie); err != nil {
		t.Fatal(err)
	}
	if list.Peers[2] == charlie {
		t.Error("Add did not copy")
	}
	updated, err := time.Parse(time.RFC3339Nano, list.Info["updated"].(string))
	if err != nil || updated.Year() == 2017 || list.Info["num_replicas"] != float64(3) {
		t.Errorf("info is %v, %v", list.Info, err)
	}
	before := string(encoded(t, list))

	for _, test := range []struct {
		name string
		err  error
		is   error  // what errors.Is finds, or
		text string // what is in the text
	}{
		{"add nil", list.Add(nil), nil, "nil"},
		{"add again", list.Add(charlie), ErrExists, `cannot add "charlie"`},
		{"add its pid", list.Add(&Peer{PID: 3, Name: "d", IPAddr: "10.0.0.4", Port: 1}), nil, `3 is also the pid of "charlie"`},
		{"add its port", list.Add(&Peer{PID: 4, Name: "d", IPAddr: "10.0.0.3", Port: 4264}), nil, `also the control port of "charlie"`},
		{"add a bad one", list.Add(&Peer{PID: 4, Name: "d d", Port: 1}), nil, "name: ' ' cannot be in a name"},
		{"remove none", list.Remove("zulu"), ErrNotFound, `cannot remove "zulu"`},
		{"update none", list.Update("zulu", func(*Peer) {}), ErrNotFound, `cannot update "zulu"`},
		{"rename onto another", list.Update("charlie", func(p *Peer) { p.Name = "peer-1" }), ErrExists, `cannot rename "charlie" to "peer-1"`},
		{"update badly", list.Update("charlie", func(p *Peer) { p.Port = 65000 }), nil, "set control_port"},
		{"collide with a later one", list.Update("peer-1", func(p *Peer) { p.PID = 3 }), nil, `3 is also the pid of "charlie"`},
	} {
		if test.err == nil || test.is != nil && !errors.Is(test.err, test.is) ||
			!strings.Contains(test.err.Error(), test.text) || !strings.HasPrefix(test.err.Error(), "peers: ") {
			t.Errorf("%s: error is %v", test.name, test.err)
		}
	}
	if got := string(encoded(t, list)); got != before {
		t.Errorf("failed edits left\n%s", got)
	}
	_, err = list.Get("zulu")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("Get's error is %v", err)
	}

	if err := list.Update("peer-1", func(p *Peer) { p.Name, p.PID, p.ControlPort = "alpha", 11, 9000 }); err != nil {
		t.Error(err)
	}
	if p, err := list.Get("alpha"); err != nil || p != list.Peers[0] || p.Control() != 9000 {
		t.Errorf("updated to %+v, %v", p, err)
	}
	if err := list.Remove("peer-2"); err != nil || list.index("peer-2") >= 0 || list.Info["num_replicas"] != float64(2) {
		t.Errorf("removed: %v, %v", err, list.Info)
	}
	if err := list.Validate(); err != nil {
		t.Error(err)
	}
}

func TestEditKeeps(t *testing.T) {
	list, err := LoadFrom("testdata/annotated.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Update("alpha", func(p *Peer) { p.Description = "new" }); err != nil {
		t.Fatal(err)
	}
	text := string(encoded(t, list))
	for _, want := range []string{`"row": 9007199254740993`, `"unit": "b & c"`, `"owner": "platform"`, `"description": "new"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "num_replicas") || strings.Contains(text, "updated") {
		t.Errorf("an edit put metadata where there was none:\n%s", text)
	}
}

func TestEditInvalidList(t *testing.T) {
	list := &Peers{Peers: []*Peer{{Name: "bad name"}, nil, {Name: "bad name"}}}
	if err := list.Add(valid()); err != nil {
		t.Errorf("faults of others are in the way: %v", err)
	}
	if err := list.Remove("bad name"); err != nil || len(list.Peers) != 3 {
		t.Errorf("removed: %v", err)
	}
}

func TestEditPlaces(t *testing.T) {
	list, err := LoadFrom("testdata/replicas.json")
	must(t, err)
	var p Peer
	must(t, json.Unmarshal([]byte(`{"pid": 4, "name": "delta", "hostname": "h", "port": 1, "contrl_port": 2}`), &p))
	must(t, list.Add(&p))
	must(t, list.Update("alpha", func(p *Peer) { p.Description = "new" }))
	list.Peers[1].Port = 0
	invalid, _ := errors.AsType[*InvalidError](list.Validate())
	if invalid == nil {
		t.Fatal("valid")
	}
	// A line only for what is in the file.
	matchFaults(t, invalid.Faults, []string{
		`25:7: peer "alpha" (pid 1): port: missing or 0`,
		`peer "delta" (pid 4): contrl_port: unknown key: did you mean "control_port"?`,
	})
}
