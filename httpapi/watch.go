package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"
)

// WatchNodes streams the nodes: first as they are, then after every change. It
// blocks between events; ending ctx or the loop ends it. The last element of a
// stream that ends otherwise is an error: the cause of ctx, [ErrStreamEnded] when
// the server said that it ends the stream, [*UnreachableError] when nobody
// answered or the connection was lost, [*ReplyError] when the answer was a
// refusal.
func (c *Client) WatchNodes(ctx context.Context) iter.Seq2[NodesEvent, error] {
	return follow(ctx, c, "/nodes", nil, decodeNodes)
}

// decodeNodes knows the events that tell of nodes.
func decodeNodes(name, data string) (event NodesEvent, known bool, err error) {
	if name != eventView && name != eventChange {
		return event, false, nil
	}
	return event, true, json.Unmarshal([]byte(data), &event)
}

// follow streams what decode makes of the events of a route; events that it does not
// know are skipped. Errors are those of [Client.WatchNodes].
func follow[T any](ctx context.Context, c *Client, path string, query url.Values, decode func(name, data string) (event T, known bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		caller := ctx
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := c.ask(ctx, call{path: path, query: query, accept: "text/event-stream"})
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			yield(none, fmt.Errorf("httpapi: %s%s %w: its answer is %q, not a stream", c.URL(), path, errStranger, kind))
			return
		}
		dead := time.AfterFunc(c.silence, func() {
			cancel(fmt.Errorf("nothing was heard for %s", c.silence))
		})
		defer dead.Stop()
		events := &eventReader{r: bufio.NewReader(resp.Body), heard: func() { dead.Reset(c.silence) }, limit: maxReply}
		for {
			event, err := nextKnown(events, decode)
			switch {
			case err == nil:
			case caller.Err() != nil:
				err = context.Cause(caller)
			case errors.Is(err, ErrStreamEnded), errors.Is(err, errStranger):
				err = fmt.Errorf("httpapi: %s%s %w", c.URL(), path, err)
			default:
				err = &UnreachableError{URL: c.URL(), Err: fmt.Errorf("the stream broke off: %w", causeOr(ctx, err))}
			}
			dead.Stop() // the caller's own time does not count
			if !yield(event, err) || err != nil {
				return
			}
			dead.Reset(c.silence)
		}
	}
}

// nextKnown returns the next event that decode knows.
func nextKnown[T any](events *eventReader, decode func(name, data string) (T, bool, error)) (event T, err error) {
	for {
		name, data, err := events.next()
		if err != nil {
			return event, err
		}
		if name == eventEnd {
			var end ending
			json.Unmarshal([]byte(data), &end) // without a reason it has ended all the same
			return event, fmt.Errorf("%w: %s", ErrStreamEnded, end.Reason)
		}
		event, known, err := decode(name, data)
		if err != nil {
			return event, fmt.Errorf("%w: %w", errStranger, err)
		}
		if known {
			return event, nil
		}
	}
}

// eventReader decodes server-sent events (WHATWG HTML, section 9.2): fields
// that the API does not send are skipped.
type eventReader struct {
	r     *bufio.Reader
	heard func() // called for every line
	limit int    // of bytes in one event
}

// next returns the next event, whatever its name.
func (e *eventReader) next() (name, data string, err error) {
	var body strings.Builder
	for {
		line, err := e.line()
		if err != nil {
			return "", "", err
		}
		if line == "" {
			if name != "" || body.Len() > 0 {
				return name, body.String(), nil
			}
			continue // the blank line behind a comment
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			if body.Len() > 0 {
				body.WriteByte('\n')
			}
			if body.WriteString(value); body.Len() > e.limit {
				return "", "", e.tooLong()
			}
		}
	}
}

func (e *eventReader) tooLong() error {
	return fmt.Errorf("%w: an event is longer than %d bytes", errStranger, e.limit)
}

func (e *eventReader) line() (string, error) {
	var line []byte
	for {
		part, err := e.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(line) > e.limit {
				return "", e.tooLong()
			}
			continue
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF // even a shutdown is said before
		case err != nil:
			return "", err
		}
		e.heard()
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}
