package main

import (
	"errors"
	"strconv"
	"strings"
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
