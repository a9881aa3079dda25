//go:build cgo && !kith_nozmq

package main

/*
#cgo pkg-config: libzmq
#include <stdlib.h>
#include <zmq.h>
#include "libzmq_echo.h"
*/
import "C"

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/kith-go/kith/bench/stage"
)

var libzmqKinds = kinds{"libzmq": libzmqServer, "libzmq-load": libzmqLoad}

const libzmqName = "libzmq"

// The loops on both sides are C's (libzmq_echo.c), each on a thread that does nothing
// else. Go starts them and reads the clock at both ends.

func libzmqError(what string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("libzmq: %s: %s (%w)", what, C.GoString(C.zmq_strerror(code)), syscall.Errno(code))
}

// libzmqSecrets live as long as the process.
func libzmqSecrets(s stage.Spec, server bool) (c C.struct_echo_secrets, err error) {
	hidden, err := secretsOf(s)
	if err != nil || hidden.tls == nil {
		return c, err
	}
	own := hidden.key.CurveServer()
	c.server = C.CString(own.Public)
	if !server {
		own = hidden.key.CurveClient("bench")
	}
	c.public_key, c.secret_key = C.CString(own.Public), C.CString(own.Secret)
	return c, nil
}

// libzmqHost is a ROUTER.
type libzmqHost struct {
	bystander
	port int
}

func (h libzmqHost) places() []place { return []place{{libzmqName, h.port}} }

// libzmqServer ends with its process.
func libzmqServer(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := libzmqSecrets(s, true)
	if err != nil {
		return nil, nil, err
	}
	var (
		router   unsafe.Pointer
		endpoint [256]C.char
	)
	if err := libzmqError("bind", C.echo_bind(&router, &hidden, &endpoint[0], C.size_t(len(endpoint)))); err != nil {
		return nil, nil, err
	}
	where, err := url.Parse(C.GoString(&endpoint[0]))
	if err != nil {
		return nil, nil, err
	}
	port, err := strconv.Atoi(where.Port())
	if err != nil {
		return nil, nil, err
	}
	go func() { fmt.Println(libzmqError("echo", C.echo_serve(router))) }()
	return libzmqHost{port: port}, func() {}, nil
}

// libzmqAsker is a DEALER.
type libzmqAsker struct {
	bystander
	dealer unsafe.Pointer
}

func libzmqLoad(_ context.Context, s stage.Spec) (party, func(), error) {
	hidden, err := libzmqSecrets(s, false)
	if err != nil {
		return nil, nil, err
	}
	server, err := at(s, libzmqName)
	if err != nil {
		return nil, nil, err
	}
	endpoint := C.CString("tcp://" + server.ClientAddr())
	defer C.free(unsafe.Pointer(endpoint))
	a := &libzmqAsker{}
	return a, func() {}, libzmqError("connect", C.echo_connect(&a.dealer, &hidden, endpoint))
}

// Serves asks once.
func (a *libzmqAsker) Serves(context.Context, int) error {
	run := newLibzmqRun(1, 16)
	defer C.free(unsafe.Pointer(run))
	run.phase = C.int32_t(over)
	return libzmqError("request", C.echo_ask(a.dealer, run))
}

func newLibzmqRun(callers, size int) *C.struct_echo_run {
	run := (*C.struct_echo_run)(C.calloc(1, C.sizeof_struct_echo_run))
	run.callers, run.size = C.int(callers), C.size_t(size)
	return run
}

func (a *libzmqAsker) loop(_ context.Context, l *load) (*stage.Sample, error) {
	run := newLibzmqRun(l.Callers, l.Size)
	defer C.free(unsafe.Pointer(run))
	ended := make(chan error)
	go func() { ended <- libzmqError("requests", C.echo_ask(a.dealer, run)) }()
	s, err := watch(l.Loop, (*int32)(&run.phase))
	if failed := <-ended; failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	for i, n := range run.counts[:] {
		if n > 0 {
			s.Latency.Add((time.Duration(i)*2+1)*C.ECHO_BUCKET/2, uint64(n))
		}
	}
	return s, nil
}

func libzmqVersion() string {
	var major, minor, patch C.int
	C.zmq_version(&major, &minor, &patch)
	return fmt.Sprintf("%d.%d.%d", major, minor, patch)
}
