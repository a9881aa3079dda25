//go:build !cgo || !unix || kith_nozmq

package zmq

import (
	"errors"
	"strings"
	"testing"

	"github.com/kith-go/kith/transport"
)

func TestUnavailableSaysWhatIsMissing(t *testing.T) {
	_, err := transport.New(transport.Config{Name: "alpha", Engine: New(Config{Endpoint: "tcp://127.0.0.1:*"})})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "libzmq3-dev") || !strings.Contains(err.Error(), "CGO_ENABLED=1") {
		t.Errorf("%v", err)
	}
}
