package peers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPeers bounds what a small file of empty objects can do.
const maxPeers = 100_000

const exampleFile = `{"replicas": [{"pid": 1, "name": "alpha", "ip_address": "127.0.0.1", "port": 3264}]}`

// UnmarshalJSON replaces the list by the one in data; null leaves it alone. If
// it fails, with an [*InvalidError], the list stays as it was.
func (p *Peers) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	list, err := decodePeers(data, "")
	if err != nil {
		return err
	}
	list.path = p.path
	*p = *list
	return nil
}

// UnmarshalJSON replaces the peer by the one in data; null leaves it alone. If
// it fails, with an [*InvalidError], the peer stays as it was.
func (p *Peer) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	d, err := newDecoder(data)
	if err != nil {
		return err
	}
	peer, err := d.peer(0)
	if err == nil {
		err = d.err(nil)
	}
	if err != nil {
		return err
	}
	*p = *peer
	p.origin = peer.origin.placeless()
	return nil
}

func isNull(data []byte) bool { return string(bytes.TrimSpace(data)) == "null" }

// decodePeers reads a whole file. Its errors are InvalidErrors that name path.
func decodePeers(data []byte, path string) (*Peers, error) {
	list, err := decodeText(data)
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		invalid.Path = path
	}
	if err != nil {
		return nil, err
	}
	list.path, list.origin.name = path, path
	return list, nil
}

func decodeText(data []byte) (*Peers, error) {
	d, err := newDecoder(data)
	if err != nil {
		return nil, err
	}
	list, err := d.list()
	if err != nil {
		return nil, err
	}
	return list, d.err(list)
}

// decoder walks one JSON text once, and remembers where everything was.
type decoder struct {
	text   locator
	json   *json.Decoder
	faults []Fault // values of the wrong type, which are left zero
}

// newDecoder returns a decoder for data, which it finds to be JSON in UTF-8.
func newDecoder(data []byte) (*decoder, error) {
	// Windows editors like to begin a file with a byte order mark.
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	d := &decoder{text: newLocator(data)}
	if at := invalidUTF8(data); at >= 0 {
		return nil, d.broken(at, "the text is not UTF-8", "save the file as UTF-8", nil)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, d.broken(0, "there is nothing in it", "an example is "+exampleFile, nil)
	}
	// Checked as a whole first: a decoder notices what follows the object too late.
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		return nil, d.syntax(err)
	}
	d.json = json.NewDecoder(bytes.NewReader(data))
	return d, nil
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

func (d *decoder) syntax(err error) error {
	problem, hint, at := err.Error(), "", d.text.len()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = int(syntax.Offset) - 1 // the offset is that after the offending byte
		problem = "not JSON: " + syntax.Error()
		if strings.HasPrefix(syntax.Error(), "unexpected end") {
			problem = "the text ends in the middle"
			hint = "it was cut off, or is still being written"
		} else {
			hint = syntaxHint(syntax.Error(), d.text.text, at)
		}
	}
	return d.broken(at, problem, hint, err)
}

// syntaxHint guesses which slip made the byte at an offset unfit, of those that
// people make who edit JSON by hand; problem is what encoding/json says.
func syntaxHint(problem string, text []byte, at int) string {
	if at < 0 || at >= len(text) {
		return ""
	}
	c, before := text[at], bytes.TrimRight(text[:at], " \t\r\n")
	after := func(what string) bool { return strings.HasSuffix(problem, "after "+what) }
	switch {
	case strings.Contains(problem, " in "): // of a string, a number or a word
		return ""
	case c == '/' || c == '#':
		return "JSON has no comments"
	case c == '\'', isLetter(c) && strings.HasSuffix(problem, "beginning of object key string"):
		return "use double quotes"
	case (c == ']' || c == '}') && bytes.HasSuffix(before, []byte(",")):
		return "remove the last comma"
	case after("object key:value pair") && c == '"',
		after("array element") && strings.IndexByte("\"{[-0123456789tfn", c) >= 0:
		return "a comma is missing before it"
	case after("top-level value"):
		return "remove what follows the closing brace"
	}
	return ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// broken is the error of a text that cannot be walked at all.
func (d *decoder) broken(at int, problem, hint string, cause error) error {
	fault := Fault{Index: -1, Problem: problem, Hint: hint}.at(d.text.place(at))
	return &InvalidError{Faults: []Fault{fault}, cause: cause}
}

// err returns the values of the wrong type as an error. So that the reader of
// it can mend everything at once, it also holds what Validate says of the rest.
func (d *decoder) err(list *Peers) error {
	if len(d.faults) == 0 {
		return nil
	}
	type field struct {
		index int
		key   string
	}
	known := make(map[field]bool, len(d.faults))
	for _, f := range d.faults {
		known[field{f.Index, f.Field}] = true
	}
	faults := d.faults
	if list != nil {
		more, _ := check(list)
		for _, f := range more {
			// A replica that is no object has no fields to find fault with.
			if !known[field{f.Index, f.Field}] && !known[field{f.Index, ""}] {
				faults = appendFault(faults, f)
			}
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &InvalidError{Faults: faults}
}

// here returns the offset of the next key or value.
func (d *decoder) here() int { return nextToken(d.text.text, int(d.json.InputOffset())) }

// object calls read at each value of the object that comes next. The key is
// that of known which it matches in the lenient way of encoding/json, or as it
// is in the file. The text was found to be JSON, so no error is expected; they
// are returned for the day when that is wrong.
func (d *decoder) object(known []string, read func(key string) error) (*origin, error) {
	o := &origin{place: d.text.place(d.here()), keys: make([]keyPlace, 0, len(known))}
	seen := make(map[string]struct{}, len(known))
	if _, err := d.json.Token(); err != nil {
		return nil, err
	}
	for d.json.More() {
		at := d.text.place(d.here())
		token, err := d.json.Token()
		if err != nil {
			return nil, err
		}
		written, _ := token.(string)
		k := keyPlace{place: at, key: canonical(known, written)}
		if k.key != written {
			k.written = written
		}
		if _, twice := seen[k.key]; twice {
			o.repeated = append(o.repeated, k)
		} else {
			seen[k.key] = struct{}{}
			o.keys = append(o.keys, k)
		}
		if err := read(k.key); err != nil {
			return nil, err
		}
	}
	_, err := d.json.Token()
	return o, err
}

func (d *decoder) list() (*Peers, error) {
	if !d.text.startsWith(d.here(), '{') {
		problem := fmt.Sprintf("%s where an object belongs", d.text.kind(d.here()))
		return nil, d.broken(d.here(), problem, "an example is "+exampleFile, nil)
	}
	list := new(Peers)
	var nested []keyPlace
	o, err := d.object(listKeys, func(key string) error {
		switch key {
		case "info":
			raw, err := d.raw(key, &nested)
			if err != nil {
				return err
			}
			list.Info, list.info = nil, raw
			return d.assign(raw, &list.Info, -1, key)
		case "replicas":
			peers, err := d.replicas()
			list.Peers = peers
			return err
		default:
			return d.unknown(key, &list.extra, &nested)
		}
	})
	if err != nil {
		return nil, err
	}
	list.extra = lastOfEach(list.extra, o.repeated)
	o.repeated = append(o.repeated, nested...)
	list.origin = o
	return list, nil
}

func (d *decoder) replicas() ([]*Peer, error) {
	if !d.text.startsWith(d.here(), '[') {
		var list []*struct{}
		return nil, d.value(&list, -1, "replicas")
	}
	if _, err := d.json.Token(); err != nil {
		return nil, err
	}
	list := []*Peer{}
	for d.json.More() {
		if len(list) == maxPeers {
			problem := fmt.Sprintf("the list has more than %d peers", maxPeers)
			return nil, d.broken(d.here(), problem, "is it the right file?", nil)
		}
		peer, err := d.peer(len(list))
		if err != nil {
			return nil, err
		}
		list = append(list, peer)
	}
	_, err := d.json.Token()
	return list, err
}

// peer reads the replica that comes next. The faults are those of the index.
func (d *decoder) peer(index int) (*Peer, error) {
	peer := new(Peer)
	if at := d.here(); !d.text.startsWith(at, '{') {
		problem := fmt.Sprintf("%s where an object belongs", d.text.kind(at))
		d.faults = appendFault(d.faults, Fault{Index: index, Problem: problem}.at(d.text.place(at)))
		var skipped json.RawMessage
		return peer, d.json.Decode(&skipped)
	}
	before := len(d.faults)
	var nested []keyPlace
	o, err := d.object(peerKeys, func(key string) error {
		if key == "aws_instance" {
			raw, err := d.raw(key, &nested)
			if err != nil {
				return err
			}
			peer.AWSInstance = nil
			return d.assign(raw, &peer.AWSInstance, index, key)
		}
		if field := peer.field(key); field != nil {
			return d.value(field, index, key)
		}
		return d.unknown(key, &peer.extra, &nested)
	})
	if err != nil {
		return nil, err
	}
	peer.extra = lastOfEach(peer.extra, o.repeated)
	o.repeated = append(o.repeated, nested...)
	peer.origin = o
	for i := range d.faults[before:] {
		d.faults[before+i].Peer, d.faults[before+i].PID = peer.Name, peer.PID
	}
	return peer, nil
}

// field returns a pointer to the field of a JSON key, nil if there is none.
func (p *Peer) field(key string) any {
	switch key {
	case "pid":
		return &p.PID
	case "name":
		return &p.Name
	case "description":
		return &p.Description
	case "hostname":
		return &p.Hostname
	case "ip_address":
		return &p.IPAddr
	case "domain":
		return &p.Domain
	case "port":
		return &p.Port
	case "aws_instance":
		return &p.AWSInstance
	case "control_port":
		return &p.ControlPort
	default:
		return nil
	}
}

// value decodes the next value; one of the wrong type becomes a fault.
func (d *decoder) value(target any, index int, key string) error {
	at := d.here()
	return d.mismatch(d.json.Decode(target), at, index, key)
}

// assign decodes a value that was read already; see value.
func (d *decoder) assign(raw json.RawMessage, target any, index int, key string) error {
	// The value was the last thing read, and ends where the decoder is now.
	at := int(d.json.InputOffset()) - len(raw)
	return d.mismatch(json.Unmarshal(raw, target), at, index, key)
}

func (d *decoder) mismatch(err error, at, index int, key string) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return err
	}
	fault := Fault{Index: index, Field: key}
	fault.Problem, fault.Hint = typeProblem(key, wrong)
	d.faults = appendFault(d.faults, fault.at(d.text.place(at)))
	return nil
}

// typeProblem says what is wrong with a value, which encoding/json describes as
// "string" or "number 70000".
func typeProblem(key string, wrong *json.UnmarshalTypeError) (problem, hint string) {
	number, isNumber := strings.CutPrefix(wrong.Value, "number ")
	got := article(wrong.Value)
	switch key {
	case "port", "control_port":
		if isNumber {
			return number + " is no port number", "give a whole number from 1 to 65535"
		}
		return got + " where a number belongs", "give a whole number from 1 to 65535, without quotes"
	case "pid":
		if isNumber {
			return number + " is no precedence id", "give a whole number from 1 to 4294967295"
		}
		return got + " where a number belongs", "give a whole number from 1 to 4294967295, without quotes"
	case "replicas":
		return got + " where an array of objects belongs", ""
	case "info":
		if isNumber {
			return number + " is out of the range of numbers", "put it in quotes"
		}
		return got + " where an object belongs", ""
	case "aws_instance":
		if wrong.Type.Kind() == reflect.Map {
			return got + " where an object belongs", ""
		}
		return got + " where a string belongs", "give an object whose values are strings"
	default:
		return got + " where a string belongs", "put the value in quotes"
	}
}

// article puts the right one before a word of encoding/json.
func article(word string) string {
	if word == "array" || word == "object" {
		return "an " + word
	}
	return "a " + word
}

// unknown keeps the next value under its key.
func (d *decoder) unknown(key string, extra *[]member, nested *[]keyPlace) error {
	raw, err := d.raw(key, nested)
	if err != nil {
		return err
	}
	*extra = append(*extra, member{key, raw})
	return nil
}

// raw reads the next value as it is and looks for keys that it has twice.
func (d *decoder) raw(key string, nested *[]keyPlace) (json.RawMessage, error) {
	at := d.here()
	var raw json.RawMessage
	if err := d.json.Decode(&raw); err != nil {
		return nil, err
	}
	repeated, err := repeatedInside(raw, key, func(offset int) place { return d.text.place(at + offset) })
	*nested = append(*nested, repeated...)
	return raw, err
}
