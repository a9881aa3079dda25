package queue

// SessionID returns the ID of the session that the holder's places belong to; 0 if it
// has none that can be relied on. It is known before the first place is taken, so that
// whoever sees a place of it in a queue can tell whose it is.
func (p *Places) SessionID() uint64 {
	s := p.held.Load()
	if s == nil || (*s).Context().Err() != nil {
		return 0
	}
	return (*s).SessionID()
}
