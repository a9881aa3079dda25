package zmq

import (
	"errors"
	"time"

	"github.com/kith-go/kith/internal/secret"
)

// Config tells an Engine where to listen and whom to let in.
type Config struct {
	// Endpoint is where to listen, as Peer.ZMQEndpoint(true) tells it, "tcp://*:7000",
	// or at one address, "tcp://127.0.0.1:7000". The port may be * for any free one.
	Endpoint string
	// Key is the cluster's. With the zero Key nothing is encrypted and everybody who
	// reaches the endpoint is let in: it belongs on loopback then.
	Key secret.Key
	// Clients names the programs outside the cluster that may connect, each with the
	// pair that Key.CurveClient derives for its name. It says nothing without a Key.
	Clients []string
	// Heartbeat is how often this node makes itself heard by its peers; 0 means a
	// second. A peer of which nothing came for two and a half of them, or of its own if
	// these are longer, is given up at the next one.
	Heartbeat time.Duration
}

// ErrUnavailable is what Start answers in a program that was built without libzmq.
var ErrUnavailable = errors.New("kith: this program was built without ZeroMQ, so it cannot carry messages between peers; " +
	"to have it: apt-get install gcc libc6-dev pkg-config libzmq3-dev (or your system's packages of these), " +
	"then build with CGO_ENABLED=1 and without the tag kith_nozmq")
