package memnet

import "time"

// event is a delivery to come: of one packet, or of the next segments of a stream's half.
type event struct {
	at   time.Duration // since the network's beginning
	seq  uint64        // what was sent first arrives first among equals
	pkt  *packet
	half *half
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.seq < f.seq
}

// agenda is a binary heap of events under one timer: no goroutine and no timer per packet.
// It is written out, since container/heap would allocate for each event.
type agenda struct {
	events []event
	seq    uint64
	timer  *time.Timer
	busy   bool // tick runs, and sets the timer when it ends
}

func (a *agenda) push(e event) {
	a.seq++
	e.seq = a.seq
	a.events = append(a.events, e)
	for i := len(a.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a.events[i].before(&a.events[parent]) {
			break
		}
		a.events[i], a.events[parent] = a.events[parent], a.events[i]
		i = parent
	}
}

func (a *agenda) pop() event {
	first, last := a.events[0], len(a.events)-1
	a.events[0] = a.events[last]
	a.events[last] = event{}
	a.events = a.events[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if a.events[child].before(&a.events[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		a.events[i], a.events[least] = a.events[least], a.events[i]
		i = least
	}
}

// now is the time since the network's beginning.
func (n *Network) now() time.Duration { return time.Since(n.epoch) }

// scheduleLocked puts a delivery on the agenda.
func (n *Network) scheduleLocked(e event) {
	if n.closed {
		return
	}
	a := &n.agenda
	a.push(e)
	if a.busy || a.events[0].at != e.at {
		return // the timer is early enough, or about to be set
	}
	if wait := e.at - n.now(); a.timer == nil {
		a.timer = time.AfterFunc(wait, n.tick)
	} else {
		a.timer.Reset(wait)
	}
}

// tick delivers what is due. It is the timer's function.
func (n *Network) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := &n.agenda
	a.busy = true
	for now := n.now(); len(a.events) > 0 && a.events[0].at <= now; {
		if e := a.pop(); e.pkt != nil {
			n.deliverLocked(e.pkt)
		} else {
			e.half.armed = false
			e.half.flush()
		}
	}
	a.busy = false
	if len(a.events) > 0 {
		a.timer.Reset(a.events[0].at - n.now())
	}
}
