package queue

import "github.com/kith-go/kith/internal/state/statepb"

// Woken returns how many waits were told that it is their turn in that queue, and how
// often its line has looked at the whole of it; false if it is not watched.
func (p *Places) Woken(kind statepb.QueueName_Kind, name string) (woken, audits uint64, ok bool) {
	p.mu.Lock()
	l := p.lines[lineName{kind, name}]
	p.mu.Unlock()
	if l == nil {
		return 0, 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.woken, l.audits, true
}

// Lines returns how many queues are watched, and how many chosen names are taken.
func (p *Places) Lines() (lines, named int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines), len(p.named)
}
