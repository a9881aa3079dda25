package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/kith-go/kith/internal/secret"
)

// Call says whom a dial is to reach, and what for.
type Call struct {
	// Name is that of the node called; any other one refuses. "" calls whoever
	// is there.
	Name string
	// Addr is its control address, "host:port"; a name is resolved when dialling.
	Addr    string
	Purpose Purpose
	// RaftID is the member that Raft and Snapshot connections are for; any other
	// one refuses. Other purposes need none.
	RaftID uint64
}

// Dial connects to a control port, and returns the connection and what the other
// side said of itself.
//
// It blocks until the handshake is over, at most five seconds and no longer than
// ctx. Every error is a *PeerError around the network's error, a *Refusal, or
// one of the sentinels of this package. A Probe's connection is already closed
// and nil.
func (l *Link) Dial(ctx context.Context, call Call) (net.Conn, Identity, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errSlowHandshake)
	defer cancel()
	stop := context.AfterFunc(l.ctx, cancel)
	defer stop()
	conn, id, err := l.dial(ctx, call)
	if err == nil {
		return conn, id, nil
	}
	switch {
	case l.ctx.Err() != nil:
		err = ErrClosed
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	return nil, Identity{}, &PeerError{Name: call.Name, Addr: call.Addr, Err: err}
}

var errSlowHandshake = fmt.Errorf("the handshake took longer than %v", handshakeTimeout)

func (l *Link) dial(ctx context.Context, call Call) (net.Conn, Identity, error) {
	raw, err := l.cfg.Network.Dial(ctx, call.Addr)
	if err != nil {
		return nil, Identity{}, err
	}
	tracked, err := l.track(raw)
	if err != nil {
		raw.Close()
		return nil, Identity{}, err
	}
	// A connection does not know contexts: when ctx ends, its deadline passes.
	stop := context.AfterFunc(ctx, func() { tracked.SetDeadline(time.Unix(1, 0)) })
	secured, id, err := l.greet(tracked, call)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil || call.Purpose == Probe {
		tracked.Close()
		return nil, id, err
	}
	return secured, id, nil
}

// greet performs the dialler's half of the handshake.
func (l *Link) greet(raw net.Conn, call Call) (net.Conn, Identity, error) {
	secured := raw
	if l.client != nil {
		t := tls.Client(raw, l.client)
		if err := t.Handshake(); err != nil {
			return nil, Identity{}, handshakeError(err)
		}
		secured = t
	}
	self := l.identity()
	f := self.frame()
	f.To, f.ToID, f.Purpose = call.Name, call.RaftID, call.Purpose
	if err := writeFrame(secured, f); err != nil {
		return nil, Identity{}, tlsError(err)
	}
	answer, err := readFrame(secured)
	if err != nil {
		return nil, Identity{}, tlsError(err)
	}
	if r := answer.Refused; r != nil {
		if r.Code == CodeKey {
			return nil, Identity{}, ErrOnlyTheyEncrypt
		}
		return nil, Identity{}, r.printable()
	}
	id, err := answer.identity()
	if err != nil {
		return nil, Identity{}, err
	}
	// An honest listener has refused already; do not rely on it (SAFETY.md, S2).
	if id.Cluster != self.Cluster || call.Name != "" && id.Name != call.Name || answer.Oldest > Version {
		return nil, Identity{}, fmt.Errorf("%w: it answered as %q of cluster %q", ErrNotKith, clip(id.Name), clip(id.Cluster))
	}
	if call.Purpose.agreed() && (self.ClusterID == "" || id.ClusterID != self.ClusterID || id.RaftID != call.RaftID) {
		return nil, Identity{}, fmt.Errorf("%w: it answered as member %d of cluster %q, asked for %d of %q",
			ErrNotKith, id.RaftID, id.ClusterID, call.RaftID, self.ClusterID)
	}
	if id.Name == "" || !id.Addr.IsValid() {
		return nil, Identity{}, fmt.Errorf("%w: its welcome lacks a name or an address", ErrNotKith)
	}
	return secured, id, nil
}

// certificateAlerts are those of RFC 8446, section 6.2, about a certificate: bad,
// unsupported, revoked, expired, unknown, of an unknown authority, missing.
var certificateAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 116}

// handshakeError is tlsError for a TLS handshake, where whatever is neither the
// network's fault nor known comes from somebody else's TLS.
func handshakeError(err error) error {
	err = tlsError(err)
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	for _, known := range []error{ErrWrongKey, ErrForeignTLS, ErrOnlyWeEncrypt, ErrNotKith} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w (%s)", ErrForeignTLS, clipAt(err.Error(), 256))
}

// tlsError turns crypto/tls's words into what a user can act on.
func tlsError(err error) error {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(record.RecordHeader[:len(magic)]) == magic {
			return ErrOnlyWeEncrypt
		}
		return fmt.Errorf("%w: it begins with %q", ErrNotKith, clip(string(record.RecordHeader[:])))
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok && secret.Minted(unknown.Cert) {
		return ErrWrongKey
	}
	// crypto/tls reports an alert from the other side as an OpError with this
	// operation. The only ones our own configurations provoke are about certificates.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		if slices.ContainsFunc(certificateAlerts, func(a tls.AlertError) bool { return a.Error() == op.Err.Error() }) {
			return fmt.Errorf("%w (%v)", ErrWrongKey, op.Err)
		}
		return fmt.Errorf("%w (%v)", ErrForeignTLS, op.Err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it hung up during the handshake: %w", io.ErrUnexpectedEOF)
	}
	return err
}
