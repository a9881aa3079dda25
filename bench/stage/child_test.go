package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// echo is a system of one process, whose leader is the node that is asked.
type echo struct{}

func (echo) Serves(context.Context, int) error            { return ErrNotAsked }
func (echo) Leader(_ context.Context, n int) (int, error) { return n, nil }
func (echo) Applied(context.Context, int) (uint64, error) { return 7, nil }
func (echo) say(what string) (string, error) {
	if what == "" {
		return "", errors.New("nothing to say")
	}
	return what, nil
}

// saying is a job.
type saying struct{ What string }

func (s *saying) Run(_ context.Context, c sayer) (any, error) { return c.say(s.What) }
func (s *saying) ProfileName() string                         { return "saying " + s.What }

type sayer interface {
	Observer
	say(string) (string, error)
}

var echoes = Cast[sayer]{
	Kinds: map[string]func(context.Context, Spec) (sayer, func(), error){
		"echo":   func(context.Context, Spec) (sayer, func(), error) { return echo{}, func() {}, nil },
		"server": func(context.Context, Spec) (sayer, func(), error) { return nil, func() {}, nil },
		"broken": func(context.Context, Spec) (sayer, func(), error) { return nil, nil, errors.New("broken") },
	},
	Jobs: map[string]func() Job[sayer]{"say": func() Job[sayer] { return new(saying) }},
}

func TestChildAnswers(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{``, ``},
		{`{"Kind":"echo"}`, `{}`},
		{`{"Kind":"echo"}{"Ask":"nonsense"}{"Ask":"collect"}`, `{} {"Error":"no request is called \"nonsense\""} {}`},
		{`{"Kind":"echo"}{"Ask":"leader","Body":{"Node":2}}{"Ask":"applied","Body":{}}`, `{} {"Body":2} {"Body":7}`},
		{`{"Kind":"echo"}{"Ask":"serves","Body":{}}`, `{} {"Error":"this child is no observer"}`},
		{`{"Kind":"echo"}{"Ask":"say","Body":{"What":"hello"}}{"Ask":"say","Body":{}}`, `{} {"Body":"hello"} {"Error":"nothing to say"}`},
		{`{"Kind":"server"}{"Ask":"leader","Body":{}}{"Ask":"collect"}`, `{} {"Error":"this child is no client"} {}`},
		{`{"Kind":"broken"}`, `{"Error":"broken"}`},
	} {
		var out bytes.Buffer
		echoes.play(strings.NewReader(test.in), &out)
		var replies []string
		for decoder := json.NewDecoder(&out); ; {
			var a json.RawMessage
			if decoder.Decode(&a) != nil {
				break
			}
			replies = append(replies, string(a))
		}
		if got := strings.Join(replies, " "); got != test.want {
			t.Errorf("%s: answered %s, want %s", test.in, got, test.want)
		}
	}
	if err := echoes.play(strings.NewReader(`{"Kind":"nobody"}`), new(bytes.Buffer)); err == nil {
		t.Error("a child of no kind lives")
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	spec, err := json.Marshal(Spec{Kind: "echo", Profile: dir})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	in := string(spec) + `{"Ask":"say","Body":{"What":"hello"}}`
	if err := echoes.play(strings.NewReader(in), &out); err != nil || !strings.Contains(out.String(), `"hello"`) {
		t.Errorf("answered %s, error %v", out.String(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "echo-0-saying hello.pprof")); err != nil || info.Size() == 0 {
		t.Errorf("the profile: %v, %v", info, err)
	}
}
