package memnet

// queue is a first-in, first-out ring that grows as needed and keeps its memory.
type queue[T any] struct {
	buf  []T // its length is a power of two
	head int
	n    int
}

func (q *queue[T]) len() int { return q.n }

// at returns the i-th element from the front.
func (q *queue[T]) at(i int) *T { return &q.buf[(q.head+i)&(len(q.buf)-1)] }

func (q *queue[T]) push(v T) {
	if q.n == len(q.buf) {
		grown := make([]T, max(4, 2*len(q.buf)))
		for i := range q.n {
			grown[i] = *q.at(i)
		}
		q.buf, q.head = grown, 0
	}
	q.n++
	*q.at(q.n - 1) = v
}

func (q *queue[T]) pop() T {
	slot := q.at(0)
	v := *slot
	clear(q.buf[q.head : q.head+1]) // so that the queue holds on to nothing
	q.head = (q.head + 1) & (len(q.buf) - 1)
	q.n--
	return v
}

// truncate keeps the first n elements.
func (q *queue[T]) truncate(n int) {
	for i := n; i < q.n; i++ {
		var zero T
		*q.at(i) = zero
	}
	q.n = n
}

// ring is a queue of bytes.
type ring struct {
	buf  []byte
	head int
	n    int
}

func (r *ring) write(b []byte) {
	if need := r.n + len(b); need > len(r.buf) {
		size := max(512, 2*len(r.buf))
		for size < need {
			size *= 2
		}
		grown := make([]byte, size)
		r.peek(grown[:r.n])
		r.buf, r.head = grown, 0
	}
	tail := (r.head + r.n) & (len(r.buf) - 1)
	if k := copy(r.buf[tail:], b); k < len(b) {
		copy(r.buf, b[k:])
	}
	r.n += len(b)
}

// peek copies the first len(b) bytes, which must be there.
func (r *ring) peek(b []byte) {
	if k := copy(b, r.buf[r.head:]); k < len(b) {
		copy(b[k:], r.buf)
	}
}

// discard drops the first n bytes.
func (r *ring) discard(n int) {
	r.n -= n
	if r.n == 0 {
		r.head = 0 // the next bytes lie in one piece
		return
	}
	r.head = (r.head + n) & (len(r.buf) - 1)
}

// truncate drops the last n bytes.
func (r *ring) truncate(n int) { r.n -= n }
