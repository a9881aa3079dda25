package state

import (
	"errors"
	"unicode/utf8"

	"github.com/kith-go/kith/internal/state/statepb"
)

// nameError says why s cannot be a name, or nil.
func nameError(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	if !utf8.ValidString(s) {
		return errors.New("it is not valid UTF-8")
	}
	return nil
}

// checkName refuses what cannot be the name of a key, a queue, an event, a member; nil if it can.
func (m *Machine) checkName(what, s string) *statepb.Result {
	if err := nameError(s); err != nil {
		return m.refuse(statepb.Result_INVALID, "%s: %v", what, err)
	}
	return m.checkText(what, s)
}

// checkText is checkName for what may be empty.
func (m *Machine) checkText(what, s string) *statepb.Result {
	if uint64(len(s)) > m.limits.KeyBytes {
		return m.refuse(statepb.Result_TOO_LARGE, "%s: it has %d bytes, more than key_bytes, %d", what, len(s), m.limits.KeyBytes)
	}
	if !utf8.ValidString(s) {
		return m.refuse(statepb.Result_INVALID, "%s: it is not valid UTF-8", what)
	}
	return nil
}

// checkData refuses too large a value.
func (m *Machine) checkData(what string, data []byte) *statepb.Result {
	if uint64(len(data)) > m.limits.ValueBytes {
		return m.refuse(statepb.Result_TOO_LARGE, "%s: it has %d bytes, more than value_bytes, %d", what, len(data), m.limits.ValueBytes)
	}
	return nil
}

// owned returns a copy of data, nil if it is empty.
func owned(data []byte) []byte {
	return append([]byte(nil), data...)
}
