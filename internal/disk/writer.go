package disk

// Writer writes to files and waits for the disk, on behalf of one caller at a time. Its
// zero value is ready; Close it.
//
// On Linux a thread does that which is none of Go's. A goroutine that waits in a system
// call keeps one of the few processors that Go programs run on until the runtime's monitor
// takes it away, and for as long the monitor looks after it, every 20 µs. Where entries come
// one after another, each with a sync, that took a third of the CPU time, and kept others
// from running. A goroutine that waits for the thread is merely parked.
//
// Elsewhere, and for files that are not System's, the caller writes.
type Writer struct {
	thread *thread // nil before the first use, and where there can be none
	begun  bool
}

// Write is f.WriteAt and, with sync, f.Sync: it makes durable what was written to f before
// too. It blocks until both are done. The error is that of the one that failed; b is not
// kept.
func (w *Writer) Write(f File, b []byte, off int64, sync bool) error {
	if own, ok := f.(file); ok && sync && len(b) > 0 && len(b) <= threadRoom {
		if !w.begun {
			w.thread, w.begun = startThread(), true
		}
		if w.thread != nil {
			return w.thread.write(own.File, b, off)
		}
	}
	if _, err := f.WriteAt(b, off); err != nil || !sync {
		return err
	}
	return f.Sync()
}

// Close ends the thread. It must not be called while Write runs, which can be used
// afterwards.
func (w *Writer) Close() {
	if w.thread != nil {
		w.thread.close()
		w.thread, w.begun = nil, false
	}
}

// threadRoom is the most that goes through the thread: a copy of it does not cost much, and
// what is larger keeps the disk busy for longer than the monitor minds.
const threadRoom = 64 << 10
