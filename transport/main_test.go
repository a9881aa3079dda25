package transport_test

import (
	"context"
	"testing"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// echo answers with what it was asked with.
func echo(_ context.Context, r transport.Message) (transport.Message, error) {
	return transport.Message{Header: r.Header, Body: r.Body}, nil
}
