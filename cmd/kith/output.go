package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// style is how a cell looks on a terminal.
type style string

const (
	plain  style = ""
	good   style = "\x1b[32m"
	doubt  style = "\x1b[33m"
	bad    style = "\x1b[31m"
	faint  style = "\x1b[2m"
	strong style = "\x1b[1m"
	reset        = "\x1b[0m"
)

// output is standard output. It remembers the first write that failed, so that no
// command claims to have said what nobody got.
type output struct {
	w      io.Writer
	err    error
	failed func() // called once on the first failure, nil for nothing
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if o.err = err; err != nil && o.failed != nil {
		o.failed()
	}
	return n, err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour reports whether standard output may be coloured.
func (a *app) colour() bool {
	return a.terminal && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// paint returns text in a style where colours are wanted.
func (a *app) paint(text string, s style) string {
	if s == plain || !a.colour() {
		return text
	}
	return string(s) + text + reset
}

// clean makes text from elsewhere harmless to a terminal: control characters,
// but for line ends and tabs, become question marks.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || r == utf8.RuneError) {
			return '?'
		}
		return r
	}, text)
}

// cell is one field of a table.
type cell struct {
	text  string
	style style
}

// table aligns rows in columns. Unlike text/tabwriter it knows that colours
// take no room.
type table struct {
	head []string
	rows [][]cell
}

func newTable(head ...string) *table { return &table{head: head} }

// add appends a row; each field is a string or a cell.
func (t *table) add(fields ...any) {
	row := make([]cell, len(fields))
	for i, f := range fields {
		c, ok := f.(cell)
		if !ok {
			c.text = fmt.Sprint(f)
		}
		c.text = strings.Join(strings.Fields(clean(c.text)), " ")
		row[i] = c
	}
	t.rows = append(t.rows, row)
}

// render returns the table, with every cell in its style.
func (t *table) render(paint func(string, style) string) string {
	rows := t.rows
	if len(t.head) > 0 {
		head := make([]cell, len(t.head))
		for i, h := range t.head {
			head[i] = cell{h, strong}
		}
		rows = append([][]cell{head}, rows...)
	}
	var width []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		gap := 0
		for i, c := range row {
			if c.text != "" {
				line.WriteString(strings.Repeat(" ", gap))
				line.WriteString(paint(c.text, c.style))
				gap = 0
			}
			gap += width[i] - utf8.RuneCountInString(c.text) + 2
		}
		out.WriteString(line.String() + "\n")
	}
	return out.String()
}

// print writes the table to standard output.
func (a *app) print(t *table) { io.WriteString(a.stdout, t.render(a.paint)) }

// say writes a line to standard output.
func (a *app) say(format string, args ...any) {
	io.WriteString(a.stdout, clean(fmt.Sprintf(format, args...))+"\n")
}

// note writes a line to standard error.
func (a *app) note(format string, args ...any) {
	io.WriteString(a.stderr, clean(fmt.Sprintf(format, args...))+"\n")
}

// printJSON writes v to standard output, indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printJSONLine writes v to standard output as one line.
func (a *app) printJSONLine(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// size returns a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	amount, unit := float64(n)/(1<<10), 0
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	for amount >= 1<<10 && unit < len(units)-1 {
		amount, unit = amount/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", amount, units[unit])
}

// orDash stands in for what is not known.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// ago returns how long before now t was, in the largest fitting unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(max(0, now.Sub(t)))
}

// span returns d for people, with about two digits.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
	case d < 48*time.Hour:
		return strings.Replace(d.Round(time.Minute).String(), "m0s", "m", 1)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}
