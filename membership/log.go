package membership

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"time"
)

// engineLog carries the engine's lines into a slog.Logger. The engine writes
// them with its locks held, so they are queued for a goroutine, and dropped
// when the user's logger cannot keep up.
//
// The engine marks levels in the text and repeats itself with every probe of a
// dead node; what matters to users is told by this package. So its errors are
// warnings, once a minute per kind and few in all, since strangers' packets
// provoke them too. All else is for debugging.
type engineLog struct {
	log   *slog.Logger
	lines chan string

	// Of run alone.
	since time.Time
	told  map[string]bool // in the minute since then
}

const (
	engineLines       = 256
	warningsPerMinute = 10
)

func newEngineLog(l *slog.Logger) *engineLog {
	return &engineLog{log: l, lines: make(chan string, engineLines)}
}

// Write queues one line.
func (e *engineLog) Write(p []byte) (int, error) {
	select {
	case e.lines <- string(bytes.TrimSpace(p)):
	default:
	}
	return len(p), nil
}

// run logs what is queued until ctx ends.
func (e *engineLog) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-e.lines:
			e.tell(line)
		}
	}
}

func (e *engineLog) tell(line string) {
	level := slog.LevelDebug
	if mark, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(mark, "[") {
		line = rest
		if (mark == "[ERR" && !expected(line) || alarming(line)) && e.allow(line) {
			level = slog.LevelWarn
		}
	}
	e.log.Log(context.Background(), level, line)
}

// alarming tells the one mere warning that users must see: a firewall that lets
// TCP through and not UDP.
func alarming(line string) bool { return strings.Contains(line, "over TCP but UDP probes failed") }

// expected tells what every dead, restarting or leaving peer provokes, and what
// this package reports in its own words.
func expected(line string) bool {
	for _, s := range []string{"Push/Pull with", "Failed fallback TCP ping", "Failed to send", "Conflicting address",
		"Failed push/pull merge", "Failed to receive", "name conflicts with", "Failed to read"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// allow lets each kind of line through once a minute. The kind ends where
// addresses, labels and names begin, which strangers may choose.
func (e *engineLog) allow(line string) bool {
	kind := line
	if i := strings.IndexAny(kind, "0123456789\"'=\\"); i >= 0 {
		kind = kind[:i]
	}
	now := time.Now()
	if e.told == nil || now.Sub(e.since) >= time.Minute {
		e.since, e.told = now, make(map[string]bool)
	}
	if e.told[kind] || len(e.told) >= warningsPerMinute {
		return false
	}
	e.told[kind] = true
	return true
}
