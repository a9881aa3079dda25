package membership

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// engineLog carries the engine's lines into a slog.Logger. The engine marks
// levels in the text and repeats itself with every probe of a dead node; what
// matters to users is told by this package. So its errors are warnings, once a
// minute per kind, and all else is for debugging.
type engineLog struct {
	log  *slog.Logger
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

func newEngineLog(l *slog.Logger) *log.Logger {
	return log.New(&engineLog{log: l, last: make(map[string]time.Time)}, "", 0)
}

func (e *engineLog) Write(p []byte) (int, error) {
	line := string(bytes.TrimSpace(p))
	level := slog.LevelDebug
	if mark, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(mark, "[") {
		line = rest
		if mark == "[ERR" && !expected(line) && e.allow(line) {
			level = slog.LevelWarn
		}
	}
	e.log.Log(context.Background(), level, line)
	return len(p), nil
}

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

// allow lets each kind of line through once a minute. The kind is the text up
// to the second colon: what follows are names, addresses and causes.
func (e *engineLog) allow(line string) bool {
	kind := line
	if engine, rest, ok := strings.Cut(line, ": "); ok {
		what, _, _ := strings.Cut(rest, ":")
		kind = engine + what
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if last, ok := e.last[kind]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if len(e.last) > 64 {
		clear(e.last)
	}
	e.last[kind] = now
	return true
}
