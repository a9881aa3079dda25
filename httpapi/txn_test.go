package httpapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
)

func TestTxn(t *testing.T) {
	f := newFake(t)
	srv, c := serve(t, New(f, Options{}), "")
	post := func(body string) reply { return send(t, srv.URL, "POST", "/txn", body) }
	for _, step := range []struct{ body, revision, answer string }{
		{`{"then":[{"put":"a","value":"1"},{"put":"b","value":{"base64":"/w=="},"ttl_ms":1500},{"get":"b"}]}`, "1",
			`{"succeeded":true,"revision":1,"results":[{},{},{"found":true,"value":{"base64":"/w=="},"revision":1,"created":1}]}`},
		{`{"if":[{"key":"a","revision":1},{"key":"b","exists":true},{"key":"c","exists":false},{"key":"d","revision":0},{"key":"a","value":"1"}],
			"then":[{"put":"a","value":""},{"delete":"b"},{"delete":"nosuch"}]}`, "2",
			`{"succeeded":true,"revision":2,"results":[{"previous":1},{"previous":1,"deleted":1},{}]}`},
		{`{"if":[{"key":"a","value":"1"}],"then":[{"delete_prefix":""}],"else":[{"get":"a"},{"get":"nosuch"}]}`, "2",
			`{"succeeded":false,"revision":2,"results":[{"found":true,"value":"","revision":2,"created":1},{}]}`},
		{`{"then":[{"delete_prefix":""}]}`, "3", `{"succeeded":true,"revision":3,"results":[{"deleted":1}]}`},
		{`{}`, "3", `{"succeeded":true,"revision":3,"results":[]}`},
	} {
		r := post(step.body).want(t, step.body, 200, step.revision)
		var got, want any
		if json.Unmarshal([]byte(r.body), &got) != nil || json.Unmarshal([]byte(step.answer), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nanswers %s\nwant    %s", step.body, r.body, step.answer)
		}
	}
	result, err := c.Commit(t.Context(), Txn{
		If:   []TxnCondition{{Key: "x", Revision: new(kv.Revision)}},
		Then: []TxnOp{{Put: new("x"), Value: &Value{0xfe}, TTL: Millis(time.Second)}, {Get: new("x")}},
	})
	if err != nil || !result.Succeeded || result.Revision != 4 || len(result.Results) != 2 || string(*result.Results[1].Value) != "\xfe" {
		t.Errorf("Commit: %+v, %v", result, err)
	}
	f.replica.advance(2 * time.Second)
	if _, err := f.store.Get(t.Context(), "x"); err == nil {
		t.Error("the TTL was lost on the way")
	}
}

func TestBadTxns(t *testing.T) {
	f := newFake(t)
	srv, _ := serve(t, New(f, Options{}), "")
	for body, says := range map[string]string{
		``:                                  "EOF",
		`[]`:                                "cannot unmarshal",
		`{"then":[]} {}`:                    "follows",
		`{"then":[{"put":"a","value":"1"}]`: "EOF",
		`{"than":[]}`:                       "unknown field",
		`{"if":[{"key":"a","revison":1}]}`:  "unknown field", // misspelt: no condition at all
		`{"if":[{"key":"a"}]}`:              "condition 1: give one of",
		`{"if":[{"revision":1}]}`:           "key is missing",
		`{"if":[{"key":"a","revision":1,"exists":true}]}`: "give one of",
		`{"if":[{"key":"a","revision":-1}]}`:              "cannot unmarshal",
		`{"then":[{}]}`:                                   "operation 1 of then: give one of",
		`{"else":[{"get":"a"},{"get":"a","delete":"b"}]}`: "operation 2 of else: give one of",
		`{"then":[{"put":"a"}]}`:                          "without a value",
		`{"then":[{"put":"a","value":null}]}`:             "without a value",
		`{"then":[{"put":"a","value":5}]}`:                "base64",
		`{"then":[{"get":"a","value":"1"}]}`:              "belong to put",
		`{"then":[{"delete":"a","ttl_ms":5}]}`:            "belong to put",
		`{"then":[{"put":"a","value":"1","ttl_ms":-5}]}`:  "TTL",
		`{"then":[{"put":"","value":"1"}]}`:               "empty",
		"{\"then\":[{\"put\":\"a\",\"value\":\"\xff\"}]}": "UTF-8",
	} {
		p := send(t, srv.URL, "POST", "/txn", body).refused(t, body, 400, "invalid", outcome.NotDone)
		if !strings.Contains(p.Error, says) {
			t.Errorf("%s is refused with %q, want %q", body, p.Error, says)
		}
	}
	many := `{"then":[` + strings.Repeat(`{"get":"a"},`, 128) + `{"get":"a"}]}`
	send(t, srv.URL, "POST", "/txn", many).refused(t, "too many operations", 413, "too large", outcome.NotDone)
	large := `{"then":[{"put":"a","value":"` + strings.Repeat("x", MaxValue+1) + `"}]}`
	send(t, srv.URL, "POST", "/txn", large).refused(t, "a large value", 413, "too large", outcome.NotDone)
	send(t, srv.URL, "GET", "/data", "").want(t, "after all that", 200, "0")
}

// FuzzTxn: nothing panics, and what is understood is written as it was read.
func FuzzTxn(f *testing.F) {
	f.Add([]byte(`{"if":[{"key":"a","revision":1},{"key":"b","exists":false}],"then":[{"put":"a","value":"1","ttl_ms":5}],"else":[{"delete_prefix":""},{"get":"c"},{"delete":"d"}]}`))
	f.Add([]byte(`{"then":[{"put":"a","value":{"base64":"/w=="}}]}`))
	f.Add([]byte(`{"if":[{"key":"a","value":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		txn, err := ParseTxn(text)
		if err != nil {
			return
		}
		if _, err := txn.build(); err != nil {
			return
		}
		again, err := json.Marshal(txn)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseTxn(again)
		if err != nil {
			t.Fatalf("%s became %s: %v", text, again, err)
		}
		if _, err := back.build(); err != nil {
			t.Fatalf("%s became %s: %v", text, again, err)
		}
	})
}
