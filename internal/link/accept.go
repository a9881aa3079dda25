package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

func (l *Link) accept() {
	delay := time.Millisecond
	for {
		select {
		case l.shakes <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		raw, err := l.tcp.Accept()
		if err != nil {
			<-l.shakes
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: it passes, or others say so too.
			l.report(slog.LevelError, "", "cannot accept connections on the control port", err)
			if !l.pause(delay) {
				return
			}
			delay = min(2*delay, time.Second)
			continue
		}
		delay = time.Millisecond
		host := remoteHost(raw)
		if !l.enter(host) {
			<-l.shakes
			raw.Close() // the caller tries again
			l.report(slog.LevelWarn, "", "refused a connection on the control port", &PeerError{"", raw.RemoteAddr().String(), errCrowd})
			continue
		}
		l.wg.Go(func() { l.serve(raw, host) })
	}
}

var errCrowd = fmt.Errorf("%d handshakes from this address are under way already", maxPerHost)

// remoteHost returns the other side's IP address; the invalid one stands for all
// that have none.
func remoteHost(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// enter counts a handshake with host, unless there are too many already.
func (l *Link) enter(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts[host] >= maxPerHost {
		return false
	}
	l.hosts[host]++
	return true
}

// exit ends what enter began.
func (l *Link) exit(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

// pause waits for d or the link's end; it reports whether d passed.
func (l *Link) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// serve takes one connection through the handshake and hands it on.
func (l *Link) serve(raw net.Conn, host netip.Addr) {
	hello, conn, err := l.admit(raw)
	l.exit(host)
	<-l.shakes
	if err != nil {
		raw.Close()
		if l.ctx.Err() == nil {
			level := slog.LevelWarn
			if r, ok := errors.AsType[*Refusal](err); ok && passing(r.Code) {
				level = slog.LevelDebug // passes by itself
			}
			l.report(level, hello.Name, "refused a connection on the control port", &PeerError{hello.Name, raw.RemoteAddr().String(), err})
		}
		return
	}
	if hello.Purpose == Probe {
		conn.Close()
		return
	}
	l.cfg.OnStream(conn, hello)
}

// passing reports whether a refusal is of the kind that ends by itself.
func passing(c Code) bool {
	return c == CodeLeaving || c == CodeNamePending || c == CodeUnborn
}

func (l *Link) admit(raw net.Conn) (Hello, net.Conn, error) {
	tracked, err := l.track(raw)
	if err != nil {
		return Hello{}, nil, err
	}
	fail := func(h Hello, err error) (Hello, net.Conn, error) {
		tracked.Close()
		return h, nil, err
	}
	deadline := time.Now().Add(handshakeTimeout)
	tracked.SetDeadline(time.Now().Add(firstByteTimeout))
	if err := tracked.peek(); err != nil {
		return fail(Hello{}, fmt.Errorf("handshake: its first byte: %w", err))
	}
	tracked.SetDeadline(deadline)
	var secured net.Conn = tracked
	if l.server != nil {
		t := tls.Server(tracked, l.server)
		if err := t.Handshake(); err != nil {
			l.answerPlain(tracked, err)
			return fail(Hello{}, handshakeError(err))
		}
		secured = t
	}
	f, err := readFrame(secured)
	if err != nil {
		if errors.Is(err, ErrOnlyTheyEncrypt) {
			l.refuse(secured, &Refusal{Code: CodeKey, Text: "this node uses no key"})
		}
		return fail(Hello{}, fmt.Errorf("handshake: %w", err))
	}
	id, err := f.identity()
	if err != nil {
		return fail(Hello{}, err)
	}
	hello := Hello{Identity: id, To: f.To, ToID: f.ToID, Purpose: f.Purpose}
	self := l.identity()
	if r := l.judge(self, f, hello); r != nil {
		l.refuse(secured, r)
		return fail(hello, r)
	}
	if err := writeFrame(secured, self.frame()); err != nil {
		return fail(hello, fmt.Errorf("handshake: %w", err))
	}
	return hello, secured, tracked.SetDeadline(time.Time{})
}

// answerPlain lets a caller without a key know why it gets no further: to it,
// a TLS alert is noise, a plain refusal is not.
func (l *Link) answerPlain(tracked net.Conn, err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:4]) == magic {
		l.refuse(tracked, &Refusal{Code: CodeKey, Text: ErrOnlyTheyEncrypt.Error()})
	}
}

func (l *Link) refuse(conn net.Conn, r *Refusal) {
	f := l.identity().frame()
	f.Refused = r
	writeFrame(conn, f) // best effort: the connection ends either way
}

// judge decides on a hello that could be read: above all, whether it comes from
// this cluster and is meant for this node (SAFETY.md, S2).
func (l *Link) judge(self Identity, f frame, h Hello) *Refusal {
	switch {
	case f.Version < oldest || max(f.Oldest, 1) > Version:
		return &Refusal{Code: CodeVersion, Text: fmt.Sprintf(
			"%s speaks versions %d to %d of the handshake, you speak %d to %d: update the older one",
			self.Name, oldest, Version, max(f.Oldest, 1), f.Version)}
	case h.Cluster != self.Cluster:
		return &Refusal{Code: CodeCluster, Text: fmt.Sprintf(
			"%s belongs to cluster %q, you to %q: check info.cluster in the peers files and Config.Cluster (kith agent --cluster)", self.Name, self.Cluster, clip(h.Cluster))}
	case h.To != "" && h.To != self.Name && h.Name == self.Name && h.Incarnation == self.Incarnation:
		return &Refusal{Code: CodeWrongName, Name: self.Name, Text: fmt.Sprintf(
			"that is this node itself, which runs as %s: %s has this host's address in the peers file; check both", self.Name, clip(h.To))}
	case h.To != "" && h.To != self.Name:
		return &Refusal{Code: CodeWrongName, Name: self.Name, Text: fmt.Sprintf(
			"%s lives here, not %s: check the address of %[2]s in the peers file", self.Name, clip(h.To))}
	case h.Name == "" || !h.Addr.IsValid():
		return &Refusal{Code: CodeHello, Text: "the hello lacks a name or an address"}
	case !h.Purpose.known():
		return &Refusal{Code: CodePurpose, Text: fmt.Sprintf("%s does not serve %q", self.Name, clip(string(h.Purpose)))}
	}
	if h.Purpose.agreed() {
		if r := judgeMember(self, h); r != nil {
			return r
		}
	}
	if l.cfg.Admit == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	return l.cfg.Admit(ctx, h)
}

// judgeMember decides on a hello that speaks for a member of a cluster to another
// one: frames and snapshots reach only whom they are meant for (SAFETY.md, S2).
func judgeMember(self Identity, h Hello) *Refusal {
	switch {
	case self.ClusterID == "":
		return &Refusal{Code: CodeUnborn, Name: self.Name, Text: self.Name + " belongs to no cluster yet: it waits for its founders, or to be let in"}
	case h.ClusterID == "":
		return &Refusal{Code: CodeForeign, Name: self.Name, Text: fmt.Sprintf("%s belongs to cluster %s, you to none", self.Name, self.ClusterID)}
	case h.ClusterID != self.ClusterID:
		return &Refusal{Code: CodeForeign, Name: self.Name, Text: fmt.Sprintf(
			"%s belongs to cluster %s, you to %s; each has state of its own: correct the peers files, "+
				"or stop the node whose state is not wanted and remove its state directory", self.Name, self.ClusterID, h.ClusterID)}
	case h.ToID != self.RaftID:
		return &Refusal{Code: CodeStaleID, Name: self.Name, Text: fmt.Sprintf(
			"%s is member %d of the cluster, not %d", self.Name, self.RaftID, h.ToID)}
	case h.RaftID == 0 || h.RaftID == self.RaftID:
		return &Refusal{Code: CodeStaleID, Name: self.Name, Text: fmt.Sprintf(
			"member %d calls member %d: it should have another ID", h.RaftID, self.RaftID)}
	}
	return nil
}

// receive hands datagrams on until the socket is closed.
func (l *Link) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := l.udp.ReadFrom(buf)
		at := time.Now()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			if !l.pause(time.Millisecond) { // an ICMP error, or memory is short: neither lasts
				return
			}
			continue
		}
		source, err := addrPort(from)
		if err != nil {
			continue
		}
		b := make([]byte, n)
		copy(b, buf)
		l.cfg.OnPacket(b, source, at)
	}
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	if udp, ok := a.(*net.UDPAddr); ok {
		ap := udp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	return netip.ParseAddrPort(a.String())
}

// WritePacket sends one datagram. It does not block for long: a full socket
// buffer is an error, and the datagram lost.
func (l *Link) WritePacket(b []byte, to netip.AddrPort) error {
	_, err := l.udp.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

// growBuffer asks for room for bursts; what the system grants is good enough.
func growBuffer(udp net.PacketConn) {
	if b, ok := udp.(interface{ SetReadBuffer(int) error }); ok {
		b.SetReadBuffer(2 << 20)
	}
}

// throttle lets the same report through once a minute, and few in all: strangers
// choose what they are about, and how many they are.
type throttle struct {
	mu    sync.Mutex // guards all below
	since time.Time
	told  map[string]bool // in the minute since then
}

const reportsPerMinute = 20

func (t *throttle) allow(key string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil || now.Sub(t.since) >= time.Minute {
		t.since, t.told = now, make(map[string]bool)
	}
	if t.told[key] || len(t.told) >= reportsPerMinute {
		return false
	}
	t.told[key] = true
	return true
}

func (l *Link) report(level slog.Level, from, msg string, err error) {
	key := msg + from
	if p, ok := errors.AsType[*PeerError](err); ok {
		host, _, _ := net.SplitHostPort(p.Addr)
		key += host + kind(p.Err)
	}
	if !l.reports.allow(key, time.Now()) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, msg, "error", err)
}

func kind(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return string(r.Code)
	}
	return fmt.Sprintf("%T", err)
}
