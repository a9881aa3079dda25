package peers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// MarshalJSON encodes the list with the unknown keys that it was read with.
// Numbers in Info are written as they were read unless they were changed.
func (p Peers) MarshalJSON() ([]byte, error) {
	fields := struct {
		Info  any     `json:"info"`
		Peers []*Peer `json:"replicas"`
	}{Peers: p.Peers}
	if p.Info != nil {
		fields.Info = restoreNumbers(p.originalInfo(), p.Info)
	}
	return marshalWith(fields, p.extra)
}

// MarshalJSON encodes the peer with the unknown keys that it was read with.
func (p Peer) MarshalJSON() ([]byte, error) {
	type fields Peer // without the methods, this one above all
	return marshalWith(fields(p), p.extra)
}

// marshalWith encodes a struct, which has at least one field, and more members.
func marshalWith(fields any, extra []member) ([]byte, error) {
	object, err := marshal(fields)
	if err != nil {
		return nil, err
	}
	for _, m := range extra {
		key, err := marshal(m.key)
		if err != nil {
			return nil, err
		}
		object[len(object)-1] = ',' // it was the closing brace
		object = append(append(append(object, key...), ':'), m.value...)
		object = append(object, '}')
	}
	return object, nil
}

// marshal is json.Marshal without the escapes for HTML, which make descriptions
// unreadable.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeFile returns the list as it is written to a file.
func (p *Peers) encodeFile() ([]byte, error) {
	if where := p.notUTF8(); where != "" {
		// encoding/json would write something else instead, without a word.
		return nil, fmt.Errorf("peers: cannot write the list: %s is not UTF-8", where)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("peers: cannot write the list: %w", err)
	}
	return b.Bytes(), nil
}

// originalInfo returns Info as it was read, with numbers as they were written.
func (p *Peers) originalInfo() any {
	if p.info == nil {
		return nil
	}
	var original any
	dec := json.NewDecoder(bytes.NewReader(p.info))
	dec.UseNumber()
	if dec.Decode(&original) != nil {
		return nil
	}
	return original
}

// restoreNumbers returns current with every float64 that is still that of the
// original replaced by the original's digits: a float64 does not hold them all.
func restoreNumbers(original, current any) any {
	switch current := current.(type) {
	case float64:
		if number, ok := original.(json.Number); ok {
			if f, err := number.Float64(); err == nil && f == current {
				return number
			}
		}
	case map[string]any:
		if original, ok := original.(map[string]any); ok {
			restored := make(map[string]any, len(current))
			for key, value := range current {
				restored[key] = restoreNumbers(original[key], value)
			}
			return restored
		}
	case []any:
		if original, ok := original.([]any); ok && len(original) == len(current) {
			restored := make([]any, len(current))
			for i, value := range current {
				restored[i] = restoreNumbers(original[i], value)
			}
			return restored
		}
	}
	return current
}

// notUTF8 says where in the list there is a string that JSON cannot hold, in
// the words of "the name of replica 2"; it is empty if there is none.
func (p *Peers) notUTF8() string {
	if !validJSON(p.Info) {
		return "info"
	}
	for i, peer := range p.Peers {
		if field := peer.notUTF8(); field != "" {
			return fmt.Sprintf("%s of peer %d of the list", field, i+1)
		}
	}
	return ""
}

// notUTF8 returns the key of the first field that is not UTF-8, empty if none.
func (p *Peer) notUTF8() string {
	if p == nil {
		return ""
	}
	for _, f := range []struct{ key, value string }{
		{"name", p.Name},
		{"description", p.Description},
		{"hostname", p.Hostname},
		{"ip_address", p.IPAddr},
		{"domain", p.Domain},
	} {
		if !utf8.ValidString(f.value) {
			return f.key
		}
	}
	for key, value := range p.AWSInstance {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return "aws_instance"
		}
	}
	return ""
}

// validJSON reports whether all strings in what encoding/json makes are UTF-8.
func validJSON(v any) bool {
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case map[string]any:
		for key, value := range v {
			if !utf8.ValidString(key) || !validJSON(value) {
				return false
			}
		}
	case []any:
		for _, value := range v {
			if !validJSON(value) {
				return false
			}
		}
	}
	return true
}
