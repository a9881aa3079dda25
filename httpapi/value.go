package httpapi

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Value is bytes in JSON: a string if they are UTF-8, else {"base64": "…"}. Either is
// understood.
type Value []byte

// encoded is the form of a value that no string can hold.
type encoded struct {
	Base64 *[]byte `json:"base64"`
}

// MarshalJSON encodes v.
func (v Value) MarshalJSON() ([]byte, error) {
	if utf8.Valid(v) {
		return json.Marshal(string(v))
	}
	return json.Marshal(encoded{(*[]byte)(&v)})
}

// UnmarshalJSON decodes v.
func (v *Value) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*v = Value(text)
		return nil
	}
	var e encoded
	if err := json.Unmarshal(data, &e); err != nil || e.Base64 == nil {
		return errors.New(`a value is a string, or {"base64": "…"}`)
	}
	*v = *e.Base64
	return nil
}
