package peers

import (
	"fmt"
	"strconv"
	"strings"
)

// Fault is one thing wrong with a list of peers.
type Fault struct {
	Peer    string `json:"peer,omitempty"`   // name of the peer, empty if it has none or the fault is of the list
	PID     uint32 `json:"pid,omitempty"`    // precedence id of the peer
	Index   int    `json:"index"`            // position in Peers from 0, or -1 for a fault of the list itself
	Line    int    `json:"line,omitempty"`   // line in the file as it was read, from 1; 0 if unknown
	Column  int    `json:"column,omitempty"` // column in the line in bytes, from 1; 0 if unknown
	Field   string `json:"field,omitempty"`  // JSON key of the field, empty if the fault is of the whole
	Problem string `json:"problem"`          // what is wrong
	Hint    string `json:"hint,omitempty"`   // how to mend it, may be empty
}

// String returns the fault on one line, such as
//
//	12:7: peer "bravo" (pid 2): port: missing or 0: give the message port, 1 to 65535
func (f Fault) String() string {
	var parts []string
	if f.Line > 0 {
		place := strconv.Itoa(f.Line)
		if f.Column > 0 {
			place += ":" + strconv.Itoa(f.Column)
		}
		parts = append(parts, place)
	}
	if f.Index >= 0 {
		parts = append(parts, f.subject())
	}
	for _, part := range []string{f.Field, f.Problem, f.Hint} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// subject names the peer as well as can be.
func (f Fault) subject() string {
	switch {
	case f.Peer != "" && f.PID != 0:
		return fmt.Sprintf("peer %q (pid %d)", f.Peer, f.PID)
	case f.Peer != "":
		return fmt.Sprintf("peer %q", f.Peer)
	case f.PID != 0:
		return fmt.Sprintf("peer %d of the list (pid %d)", f.Index+1, f.PID)
	default:
		return fmt.Sprintf("peer %d of the list", f.Index+1)
	}
}

// at returns the fault with the place filled in.
func (f Fault) at(where place) Fault {
	f.Line, f.Column = where.line, where.column
	return f
}

const (
	maxFaults     = 1000 // of one list: a large file with nothing right in it is not worth more
	maxFaultLines = 100  // in the text of an InvalidError
)

func appendFault(faults []Fault, f Fault) []Fault {
	if len(faults) == maxFaults {
		return faults
	}
	return append(faults, f)
}

// InvalidError says everything that is wrong with a list of peers. Get at it
// with errors.AsType[*InvalidError].
type InvalidError struct {
	Path   string  // the file or the URL of the list, empty if it has none
	Faults []Fault // at least one and at most 1000

	cause error // of encoding/json, for a text that is not JSON
}

// Error names every fault, one a line, with its place; above 100 it says how
// many more there are.
func (e *InvalidError) Error() string {
	prefix := ""
	if e.Path != "" {
		prefix = e.Path + ":"
	}
	line := func(f Fault) string {
		if f.Line == 0 && prefix != "" {
			return prefix + " " + f.String()
		}
		return prefix + f.String()
	}
	if len(e.Faults) == 1 {
		return "peers: " + line(e.Faults[0])
	}
	var b strings.Builder
	count := strconv.Itoa(len(e.Faults))
	if len(e.Faults) == maxFaults {
		count += " or more"
	}
	fmt.Fprintf(&b, "peers: the list has %s faults:", count)
	for _, f := range e.Faults[:min(len(e.Faults), maxFaultLines)] {
		b.WriteString("\n" + line(f))
	}
	if more := len(e.Faults) - maxFaultLines; more > 0 {
		fmt.Fprintf(&b, "\nand %d more", more)
	}
	return b.String()
}

// Unwrap returns the error of encoding/json, nil if the text is JSON.
func (e *InvalidError) Unwrap() error { return e.cause }
