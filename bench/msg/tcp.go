package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"github.com/kith-go/kith/bench/stage"
)

var tcpKinds = kinds{"tcp": tcpServer, "tcp-load": tcpLoad}

const tcpName = "tcp"

// A frame is its length in four bytes, and as many bytes. An empty one is not answered.
const tcpPrefix = 4

// tcpServer sends each frame back. It is what a connection of Go's costs and no more:
// no names, no deadlines, one request at a time.
func tcpServer(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	party := listening{name: tcpName, l: l}
	if hidden.tls != nil {
		l = tls.NewListener(l, hidden.tls)
	}
	go func() { // until Close
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go tcpEcho(c)
		}
	}()
	return party, func() { l.Close() }, nil
}

func tcpEcho(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for frame := []byte(nil); ; {
		var err error
		if frame, err = tcpRead(r, frame); err != nil {
			return
		}
		if len(frame) == tcpPrefix {
			continue
		}
		if _, err := c.Write(frame); err != nil {
			return
		}
	}
}

// tcpRead reads a frame, with its prefix, into the memory of the one before.
func tcpRead(r io.Reader, frame []byte) ([]byte, error) {
	frame = append(frame[:0], 0, 0, 0, 0)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(frame))
	if cap(frame) < tcpPrefix+size {
		frame = append(make([]byte, 0, tcpPrefix+size), frame...)
	}
	frame = frame[:tcpPrefix+size]
	_, err := io.ReadFull(r, frame[tcpPrefix:])
	return frame, err
}

// tcpAsker gives each caller a connection.
type tcpAsker struct {
	bystander
	server stage.Member
	secrets
}

func tcpLoad(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := secretsOf(s)
	if err != nil {
		return nil, nil, err
	}
	server, err := at(s, tcpName)
	if err != nil {
		return nil, nil, err
	}
	return tcpAsker{server: server, secrets: hidden}, func() {}, nil
}

func (a tcpAsker) dial() (net.Conn, error) {
	if a.tls != nil {
		return tls.Dial("tcp", a.server.ClientAddr(), a.tls)
	}
	return net.Dial("tcp", a.server.ClientAddr())
}

func (a tcpAsker) caller(size int) (func(context.Context) error, func(), error) {
	c, err := a.dial()
	if err != nil {
		return nil, nil, err
	}
	request := append(binary.BigEndian.AppendUint32(nil, uint32(size)), make([]byte, size)...)
	r, frame := bufio.NewReaderSize(c, 64<<10), []byte(nil)
	return func(context.Context) error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		var err error
		if frame, err = tcpRead(r, frame); err != nil {
			return err
		}
		return echoed(len(frame), len(request))
	}, func() { c.Close() }, nil
}

// Serves is a stage.Observer's.
func (a tcpAsker) Serves(ctx context.Context, _ int) error { return a.try(ctx) }

func (a tcpAsker) hang(context.Context) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, tcpPrefix)); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return err
	}
	return errAnswered
}

func (a tcpAsker) try(ctx context.Context) error {
	do, done, err := a.caller(1)
	if err != nil {
		return err
	}
	defer done()
	return do(ctx)
}

var errCannot = errors.New("this system cannot do that")
