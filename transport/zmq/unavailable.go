//go:build !cgo || !unix || kith_nozmq

package zmq

import "github.com/kith-go/kith/transport"

// Engine would carry messages with ZeroMQ, but this program was built without it.
type Engine struct{}

// New returns an engine whose Start fails.
func New(Config) *Engine { return new(Engine) }

// Start returns ErrUnavailable.
func (*Engine) Start(transport.Setup) error { return ErrUnavailable }

// Endpoint returns "".
func (*Engine) Endpoint() string { return "" }

// SetPeers does nothing.
func (*Engine) SetPeers([]transport.Address) {}

// Close does nothing.
func (*Engine) Close() error { return nil }
