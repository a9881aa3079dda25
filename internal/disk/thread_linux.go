//go:build cgo

package disk

/*
#cgo LDFLAGS: -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

// A kith_thread does one write at a time. Both sides touch what is asked and answered only
// when it is theirs: the thread between a value read from ask and one written to done, and
// Go the rest of the time.
typedef struct {
	int ask;     // an eventfd
	int done[2]; // a pipe: to read from an eventfd would make it writable, which wakes pollers
	pthread_t id;
	// What is asked.
	int stop, fd;
	int64_t off;
	size_t len;
	// What is answered: the first error, and of which call.
	int err, syncing;
	char room[];
} kith_thread;

static void kith_serve(kith_thread *t) {
	t->err = t->syncing = 0;
	for (size_t at = 0; at < t->len;) {
		ssize_t n = pwrite(t->fd, t->room + at, t->len - at, t->off + at);
		if (n > 0) {
			at += n;
		} else if (n == 0 || errno != EINTR) {
			t->err = n == 0 ? EIO : errno;
			return;
		}
	}
	t->syncing = 1;
	while (fdatasync(t->fd) != 0)
		if (errno != EINTR) {
			t->err = errno;
			return;
		}
}

static void *kith_run(void *arg) {
	kith_thread *t = arg;
	prctl(PR_SET_NAME, "kith-disk");
	for (;;) {
		uint64_t n;
		if (read(t->ask, &n, sizeof n) != sizeof n)
			continue; // a signal: nothing else interrupts it
		if (t->stop)
			return NULL;
		kith_serve(t);
		while (write(t->done[1], &n, 1) != 1)
			;
	}
}

static void kith_close(int fd) {
	if (fd >= 0)
		close(fd);
}

// kith_free frees all but done[0], which Go has.
static void kith_free(kith_thread *t) {
	kith_close(t->ask);
	kith_close(t->done[1]);
	free(t);
}

// kith_start returns NULL where there are no resources for it. Signals are for Go's threads.
static kith_thread *kith_start(size_t room) {
	kith_thread *t = calloc(1, sizeof *t + room);
	if (t == NULL)
		return NULL;
	t->ask = eventfd(0, EFD_CLOEXEC);
	if (pipe2(t->done, O_CLOEXEC) != 0)
		t->done[0] = t->done[1] = -1;
	int ready = t->ask >= 0 && t->done[0] >= 0 && fcntl(t->done[0], F_SETFL, O_NONBLOCK) == 0;
	if (ready) {
		pthread_attr_t attr;
		sigset_t all, old;
		sigfillset(&all);
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 256 << 10);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		ready = pthread_create(&t->id, &attr, kith_run, t) == 0;
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		pthread_attr_destroy(&attr);
	}
	if (!ready) {
		kith_close(t->done[0]);
		kith_free(t);
		return NULL;
	}
	return t;
}

// kith_end waits for the thread.
static void kith_end(kith_thread *t) {
	uint64_t n = 1;
	t->stop = 1;
	while (write(t->ask, &n, sizeof n) != sizeof n)
		;
	pthread_join(t->id, NULL);
	kith_free(t);
}

static char *kith_room(kith_thread *t) { return t->room; }
*/
import "C"

import (
	"cmp"
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// thread writes and syncs outside of Go's scheduler. Its methods are not safe for
// concurrent use.
type thread struct {
	c        *C.kith_thread
	room     []byte   // C's
	done     *os.File // has a byte when the thread has done what it was asked
	wait     syscall.RawConn
	take     func(done uintptr) bool // tryTake
	answered bool                    // what take found
	lost     bool                    // an answer is: nobody knows what the thread does
}

// startThread returns nil where there can be none.
func startThread() *thread {
	c := C.kith_start(threadRoom)
	if c == nil {
		return nil
	}
	t := &thread{c: c, room: unsafe.Slice((*byte)(unsafe.Pointer(C.kith_room(c))), threadRoom)}
	t.done = os.NewFile(uintptr(c.done[0]), "pipe")
	t.take = t.tryTake
	var err error
	if t.wait, err = t.done.SyscallConn(); err == nil {
		err = t.done.SetReadDeadline(time.Time{}) // an error tells that nobody can wait for it
	}
	if err != nil {
		t.close()
		return nil
	}
	return t
}

func (t *thread) close() {
	C.kith_end(t.c)
	t.done.Close()
}

var errNoAnswer = errors.New("the thread that writes gave no answer")

// write is the thread's pwrite and fdatasync. The descriptor stays open until they are done,
// also when the file is closed meanwhile: Control holds it.
func (t *thread) write(f *os.File, b []byte, off int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var unknown error
	err = conn.Control(func(fd uintptr) { unknown = t.serve(fd, b, off) })
	switch {
	case err != nil:
		return failed("write", f, os.ErrClosed) // there is no other reason for it
	case unknown != nil:
		return failed("write", f, unknown)
	case t.c.err == 0:
		return nil
	case t.c.syncing != 0:
		return failed("fdatasync", f, syscall.Errno(t.c.err))
	}
	return failed("write", f, syscall.Errno(t.c.err))
}

// serve has the thread do its work, and returns when that is done, or an error if it will
// never be known.
func (t *thread) serve(fd uintptr, b []byte, off int64) error {
	if t.lost {
		return errNoAnswer
	}
	t.c.fd, t.c.off, t.c.len = C.int(fd), C.int64_t(off), C.size_t(copy(t.room, b))
	if err := t.ask(); err != nil {
		return err
	}
	t.answered = false
	if err := t.wait.Read(t.take); !t.answered {
		t.lost = true
		return cmp.Or(err, errNoAnswer)
	}
	return nil
}

// ask and tryTake use raw system calls, which the runtime does not take note of: neither can
// block.
func (t *thread) ask() error {
	one := uint64(1)
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(t.c.ask), uintptr(unsafe.Pointer(&one)), 8)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

func (t *thread) tryTake(done uintptr) bool {
	var b [1]byte
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, done, uintptr(unsafe.Pointer(&b)), 1)
		switch errno {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.answered = errno == 0 && n == 1
			return true
		}
	}
}
