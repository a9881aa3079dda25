package transport

import (
	"sync"
	"time"
)

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	s.readBy.set(t)
	s.writeBy.set(t)
	return nil
}

// SetReadDeadline lets Reads fail with os.ErrDeadlineExceeded from then on, also those
// under way. The zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) error { s.readBy.set(t); return nil }

// SetWriteDeadline does so for Writes.
func (s *Stream) SetWriteDeadline(t time.Time) error { s.writeBy.set(t); return nil }

// deadline closes a channel at a time that can be moved. The zero deadline is never.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		d.expired = make(chan struct{})
	}
	return d.expired
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.expired // the timer's function is closing it
	}
	d.timer = nil
	if d.expired == nil {
		d.expired = make(chan struct{})
	}
	over := false
	select {
	case <-d.expired:
		over = true
	default:
	}
	if t.IsZero() || time.Until(t) > 0 {
		if over {
			d.expired = make(chan struct{})
		}
		if !t.IsZero() {
			expired := d.expired
			d.timer = time.AfterFunc(time.Until(t), func() { close(expired) })
		}
	} else if !over {
		close(d.expired)
	}
}
