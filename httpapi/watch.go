package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
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
	return func(yield func(NodesEvent, error) bool) {
		caller := ctx
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := c.ask(ctx, "/nodes", "text/event-stream")
		if err != nil {
			yield(NodesEvent{}, err)
			return
		}
		defer resp.Body.Close()
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			yield(NodesEvent{}, fmt.Errorf("httpapi: %s/nodes %w: its answer is %q, not a stream", c.base, errStranger, kind))
			return
		}
		dead := time.AfterFunc(c.silence, func() {
			cancel(fmt.Errorf("nothing was heard for %s", c.silence))
		})
		defer dead.Stop()
		events := &eventReader{r: bufio.NewReader(resp.Body), heard: func() { dead.Reset(c.silence) }, limit: maxReply}
		for {
			event, err := events.nodes()
			switch {
			case err == nil:
			case caller.Err() != nil:
				err = context.Cause(caller)
			case errors.Is(err, ErrStreamEnded), errors.Is(err, errStranger):
				err = fmt.Errorf("httpapi: %s/nodes %w", c.base, err)
			default:
				err = &UnreachableError{URL: c.base, Err: fmt.Errorf("the stream broke off: %w", causeOr(ctx, err))}
			}
			dead.Stop() // the caller's own time does not count
			if !yield(event, err) || err != nil {
				return
			}
			dead.Reset(c.silence)
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

// nodes returns the next event that tells of nodes.
func (e *eventReader) nodes() (NodesEvent, error) {
	for {
		name, data, err := e.next()
		if err != nil {
			return NodesEvent{}, err
		}
		switch name {
		case eventView, eventChange:
			var event NodesEvent
			if err := json.Unmarshal([]byte(data), &event); err != nil {
				return NodesEvent{}, fmt.Errorf("%w: %w", errStranger, err)
			}
			return event, nil
		case eventEnd:
			var end ending
			json.Unmarshal([]byte(data), &end) // without a reason it has ended all the same
			return NodesEvent{}, fmt.Errorf("%w: %s", ErrStreamEnded, end.Reason)
		}
	}
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
