package queue

import "context"

// ContextWith returns Context with the values of ctx, though not its end.
func (p *Place) ContextWith(ctx context.Context) context.Context {
	return &stay{p.ctx, context.WithoutCancel(ctx)}
}

// stay has the end of one context and the values of another.
type stay struct {
	context.Context
	values context.Context
}

// Value asks the place's context first: that is how package context finds out whose
// end it is, so that children end together with it, and not some time after.
func (s *stay) Value(key any) any {
	if v := s.Context.Value(key); v != nil {
		return v
	}
	return s.values.Value(key)
}
