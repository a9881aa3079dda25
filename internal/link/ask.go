package link

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Ask puts a question to another node over a connection of its own (Found) and
// returns the answer and who gave it. Call.Purpose is ignored.
//
// It blocks until the answer is there or ctx ends. Its errors are those of Dial.
func (l *Link) Ask(ctx context.Context, call Call, question []byte) ([]byte, Identity, error) {
	call.Purpose = Found
	conn, id, err := l.Dial(ctx, call)
	if err != nil {
		return nil, id, err
	}
	answer, err := ask(ctx, conn, question)
	if err != nil {
		return nil, id, &PeerError{Name: id.Name, Addr: call.Addr, Err: err}
	}
	return answer, id, nil
}

func ask(ctx context.Context, conn net.Conn, question []byte) ([]byte, error) {
	defer hangUp(conn)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := conn.Write(AppendFrame(nil, Route{}, KindQuestion, question))
	var answer []byte
	if err == nil {
		answer, err = readOnly(conn, KindAnswer)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	return answer, err
}

// questionTimeout bounds how long a question and the sending of its answer may
// take.
const questionTimeout = 5 * time.Second

// Answer serves an accepted connection with the purpose Found: it reads the one
// question, lets answer find the reply, sends that and closes conn. answer may
// block; ctx is what it gets.
func Answer(ctx context.Context, conn net.Conn, answer func(ctx context.Context, question []byte) []byte) error {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(questionTimeout))
	question, err := readOnly(conn, KindQuestion)
	if err != nil {
		return fmt.Errorf("link: a question: %w", err)
	}
	reply := answer(ctx, question)
	conn.SetWriteDeadline(time.Now().Add(questionTimeout))
	_, err = conn.Write(AppendFrame(nil, Route{}, KindAnswer, reply))
	return err
}

// readOnly reads the one frame that is to come.
func readOnly(conn io.Reader, want Kind) ([]byte, error) {
	kind, body, err := NewFrameReader(conn, Route{}).Read()
	if err != nil {
		return nil, noEOF(err)
	}
	if kind != want {
		return nil, fmt.Errorf("%w: of kind %d, want %d", ErrFrame, kind, want)
	}
	return body, nil
}
