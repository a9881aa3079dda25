package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/kv"
)

// decimal16 and decimal32 are the values of flags that take a number. Those of
// pflag read 0600 as octal and 0x10 as hexadecimal, which no port means.
type (
	decimal16 uint16
	decimal32 uint32
)

// Set implements [pflag.Value].
func (d *decimal16) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	*d = decimal16(n)
	return err
}

// String implements [pflag.Value].
func (d *decimal16) String() string { return strconv.FormatUint(uint64(*d), 10) }

// Type implements [pflag.Value].
func (d *decimal16) Type() string { return "uint16" }

// Set implements [pflag.Value].
func (d *decimal32) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	*d = decimal32(n)
	return err
}

// String implements [pflag.Value].
func (d *decimal32) String() string { return strconv.FormatUint(uint64(*d), 10) }

// Type implements [pflag.Value].
func (d *decimal32) Type() string { return "uint32" }

// revision is the value of a flag that takes a revision.
type revision kv.Revision

// Set implements [pflag.Value].
func (r *revision) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	*r = revision(n)
	return err
}

// String implements [pflag.Value].
func (r *revision) String() string { return strconv.FormatUint(uint64(*r), 10) }

// Type implements [pflag.Value].
func (r *revision) Type() string { return "revision" }

// timespan is the value of a flag that takes a length of time: milliseconds as in the
// API, or a number with a unit.
type timespan time.Duration

// Set implements [pflag.Value].
func (t *timespan) Set(text string) error {
	d, err := httpapi.ParseDuration(text)
	*t = timespan(d)
	return err
}

// String implements [pflag.Value]; help shows no default.
func (t *timespan) String() string {
	if *t == 0 {
		return ""
	}
	return time.Duration(*t).String()
}

// Type implements [pflag.Value].
func (t *timespan) Type() string { return "time" }

// mode is the value of a flag that takes permission bits, in octal as chmod does.
type mode fs.FileMode

// Set implements [pflag.Value].
func (m *mode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return errors.New("give permissions in octal, such as 0600")
	}
	*m = mode(n)
	return nil
}

// String implements [pflag.Value]; help shows no default.
func (m *mode) String() string {
	if *m == 0 {
		return ""
	}
	return fmt.Sprintf("%04o", uint32(*m))
}

// Type implements [pflag.Value].
func (m *mode) Type() string { return "mode" }

// address is the value of a flag that takes an address. None begins with a dash,
// but the flag behind a forgotten one does.
type address string

// Set implements [pflag.Value].
func (a *address) Set(text string) error {
	if strings.HasPrefix(text, "-") {
		return errors.New("is an address missing?")
	}
	*a = address(text)
	return nil
}

// String implements [pflag.Value].
func (a *address) String() string { return string(*a) }

// Type implements [pflag.Value].
func (a *address) Type() string { return "address" }
