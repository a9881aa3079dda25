package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestKill(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: 10 * time.Millisecond})
		near, far := r.connect()
		l := r.listen(r.bravo, ":7000")
		packets, sender := r.listenPacket(r.bravo, ":7000"), r.listenPacket(r.alpha, ":7000")
		queued, err := r.dial(r.alpha, "10.0.0.2:7000")
		if err != nil {
			r.Fatal(err)
		}
		r.write(far, "last words")
		begin := time.Now()
		r.bravo.Kill()

		r.read(near, "last words")
		for _, c := range []net.Conn{near, queued} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				r.Errorf("the peer's Read: %v", err)
			}
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("the peer's Write: %v", err)
		}
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); !errors.Is(err, syscall.ECONNREFUSED) {
			r.Errorf("Dial: %v", err)
		}
		if since := time.Since(begin); since != 30*time.Millisecond {
			r.Errorf("all that took %v", since)
		}
		_, readErr := far.Read(make([]byte, 1))
		_, acceptErr := l.Accept()
		_, _, packetErr := packets.ReadFrom(make([]byte, 1))
		_, dialErr := r.dial(r.bravo, "10.0.0.1:7000")
		for what, err := range map[string]error{"Read": readErr, "Accept": acceptErr, "ReadFrom": packetErr, "Dial": dialErr} {
			if !errors.Is(err, net.ErrClosed) {
				r.Errorf("the dead program's %s: %v", what, err)
			}
		}
		sender.WriteTo([]byte("x"), stringAddr("10.0.0.2:7000"))

		l = r.listen(r.bravo, ":7000") // started again
		again, err := r.dial(r.alpha, "10.0.0.2:7000")
		if err != nil {
			r.Fatal(err)
		}
		accepted, _ := l.Accept()
		r.write(again, "hello")
		r.read(accepted, "hello")
		packets = r.listenPacket(r.bravo, ":7000")
		r.receive(packets, "") // what came meanwhile was not for the new program
		if got := r.Stats(); got.DroppedUnheard != 1 || got.DialsRefused != 1 || got.DialsEstablished != 3 {
			r.Errorf("%+v", got)
		}
	})
}

func TestKillEndsTheWaitOfAWriter(t *testing.T) {
	virtually(t, func(r *rig) {
		near, _ := r.connect()
		time.AfterFunc(time.Second, r.bravo.Kill)
		if _, err := near.Write(make([]byte, 2*window)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Write: %v", err)
		}
	})
}

// A reset that meets a cut arrives after it, as a keep-alive would have found out.
func TestKillBehindACut(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.Isolate(bravoAddr)
		r.write(far, "never sent")
		r.bravo.Kill()
		r.silent(near)
		r.Heal()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}

func TestKillJustBeforeACut(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: time.Second})
		near, _ := r.connect()
		r.bravo.Kill()
		r.Isolate(bravoAddr) // with the reset under way
		r.silent(near)
		r.Heal()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}

// The reset is lost with the machine, but not the knowledge that there is no such connection.
func TestKillBehindACutThenPowerOff(t *testing.T) {
	virtually(t, func(r *rig) {
		near, _ := r.connect()
		r.Isolate(bravoAddr)
		r.bravo.Kill()
		r.bravo.PowerOff()
		r.Heal()
		r.bravo.PowerOn()
		r.silent(near)
		r.write(near, "anyone?")
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}

func TestPowerOff(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		idle, _ := r.connect()
		l := r.listen(r.bravo, ":7000")
		packets, sender := r.listenPacket(r.bravo, "10.0.0.2:7000"), r.listenPacket(r.alpha, "10.0.0.1:7000")
		r.bravo.PowerOff()
		r.bravo.PowerOff()
		r.bravo.Pause()
		r.bravo.Kill()

		r.write(near, "into the void")
		r.silent(near)
		r.send(sender, "lost", packets)
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); !errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("Dial: %v", err)
		}
		_, readErr := far.Read(make([]byte, 1))
		_, acceptErr := l.Accept()
		for what, err := range map[string]error{"Read": readErr, "Accept": acceptErr} {
			if !errors.Is(err, net.ErrClosed) {
				r.Errorf("%s without power: %v", what, err)
			}
		}
		_, listenErr := r.bravo.Listen(r.Context(), ":7000")
		_, packetErr := r.bravo.ListenPacket(r.Context(), ":7000")
		_, dialErr := r.bravo.Dial(r.Context(), "10.0.0.1:7000")
		for what, err := range map[string]error{"Listen": listenErr, "ListenPacket": packetErr, "Dial": dialErr} {
			if !errors.Is(err, syscall.ENETDOWN) {
				r.Errorf("%s without power: %v", what, err)
			}
		}

		r.bravo.PowerOn()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read of a connection with something to deliver: %v", err)
		}
		r.silent(idle)
		r.write(idle, "anyone?")
		if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read of an idle connection, after a Write: %v", err)
		}
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); !errors.Is(err, syscall.ECONNREFUSED) {
			r.Errorf("Dial before the program listens: %v", err)
		}
		packets = r.listenPacket(r.bravo, "10.0.0.2:7000")
		r.receive(packets, "")
		r.send(sender, "found", packets)
		r.receive(packets, "found")
	})
}

// The end of a stream is something to deliver, too.
func TestPowerOnResetsAHalfClosedStream(t *testing.T) {
	virtually(t, func(r *rig) {
		near, _ := r.connect()
		r.bravo.PowerOff()
		near.(*conn).CloseWrite()
		r.silent(near)
		r.bravo.PowerOn()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}

// What a machine had sent before it lost power arrives, unless it is cut off; what it had not is
// lost, even of connections its program had closed.
func TestPowerOffLosesWhatWasNotSent(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: time.Second})
		near, far := r.connect()
		other, closed := r.connect()
		r.write(far, "sent")
		time.Sleep(time.Millisecond)
		r.write(closed, "cut off")
		time.AfterFunc(999500*time.Microsecond, func() { r.Cut(bravoAddr, alphaAddr) })
		r.bravo.PowerOff()
		r.read(near, "sent")
		r.bravo.PowerOn()
		r.silent(other)
		r.Heal()
		r.silent(near)
		r.silent(other)

		near, far = r.connect()
		other, closed = r.connect()
		r.Cut(bravoAddr, alphaAddr)
		r.write(far, "held")
		r.write(closed, "held")
		closed.Close()
		r.bravo.PowerOff()
		r.Heal()
		r.bravo.PowerOn()
		r.silent(near)
		r.silent(other)
	})
}

func TestPause(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		other, closing := r.connect()
		l := r.listen(r.bravo, ":7000")
		packets, sender := r.listenPacket(r.bravo, "10.0.0.2:7000"), r.listenPacket(r.alpha, "10.0.0.1:7000")
		r.listen(r.alpha, ":7001")
		r.bravo.Pause()

		calls := map[string]func() error{
			"Read":     func() error { return second(io.ReadFull(far, make([]byte, 5))) },
			"Accept":   func() error { return second(l.Accept()) },
			"ReadFrom": func() error { _, _, err := packets.ReadFrom(make([]byte, 5)); return err },
			"Dial":     func() error { return second(r.bravo.Dial(r.Context(), "10.0.0.1:7001")) },
		}
		type result struct {
			call string
			err  error
		}
		results := make(chan result, len(calls))
		for name, call := range calls {
			go func() { results <- result{name, call()} }()
		}
		for range packetQueue + 10 {
			r.send(sender, "hello", packets)
		}
		r.write(near, "hello")
		dialled, err := r.dial(r.alpha, "10.0.0.2:7000")
		if err != nil {
			r.Fatalf("Dial to a paused program: %v", err)
		}
		r.write(dialled, "hello")
		if _, err := r.dial(r.alpha, "10.0.0.2:7999"); !errors.Is(err, syscall.ECONNREFUSED) {
			r.Errorf("Dial where nobody listens: %v", err)
		}
		r.write(far, "hello")
		r.send(packets, "dropped", sender)
		closing.Close()
		r.silent(near)
		r.silent(other)
		r.silent(dialled)
		r.receive(sender, "")
		if len(results) != 0 {
			r.Errorf("a paused program's call returned: %v", <-results)
		}

		// Deadlines, contexts and Close end the wait.
		far.SetReadDeadline(time.Now().Add(time.Second))
		if res := <-results; res.call != "Read" || !isTimeout(res.err) {
			r.Errorf("at the deadline: %v", res)
		}
		far.SetReadDeadline(time.Time{})
		if _, err := r.dial(r.bravo, "10.0.0.1:7001"); !errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("Dial of a paused program: %v", err)
		}

		r.bravo.Resume()
		for range len(calls) - 1 {
			if res := <-results; res.err != nil {
				r.Errorf("%s after Resume: %v", res.call, res.err)
			}
		}
		r.read(near, "hello")
		r.read(far, "hello")
		r.receive(sender, "")
		for range packetQueue - 1 {
			r.receive(packets, "hello")
		}
		r.receive(packets, "")
		if _, err := other.Read(make([]byte, 1)); err != io.EOF {
			r.Errorf("Read of a connection closed during the pause: %v", err)
		}
	})
}

func TestPauseDuringDial(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: time.Second})
		r.listen(r.bravo, ":7000")
		time.AfterFunc(1500*time.Millisecond, r.alpha.Pause) // the answer is on its way
		time.AfterFunc(5*time.Second, r.alpha.Resume)
		begin := time.Now()
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); err != nil || time.Since(begin) != 5*time.Second {
			r.Errorf("Dial: %v after %v", err, time.Since(begin))
		}
	})
}

func TestKillEndsAPause(t *testing.T) {
	virtually(t, func(r *rig) {
		near, far := r.connect()
		r.bravo.Pause()
		time.AfterFunc(time.Second, r.bravo.Kill)
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			r.Errorf("Read: %v", err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}

// The far end of a dial that was given up must not look alive.
func TestPowerOffDuringDial(t *testing.T) {
	virtually(t, func(r *rig) {
		r.SetDefault(Conditions{Delay: time.Second})
		l := r.listen(r.bravo, ":7000")
		time.AfterFunc(500*time.Millisecond, r.alpha.PowerOff)
		if _, err := r.dial(r.alpha, "10.0.0.2:7000"); !errors.Is(err, net.ErrClosed) {
			r.Errorf("Dial: %v", err)
		}
		accepted, err := l.Accept()
		if err != nil {
			r.Fatal(err)
		}
		r.silent(accepted)
		r.alpha.PowerOn()
		if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("Read: %v", err)
		}
	})
}
