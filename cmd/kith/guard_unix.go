//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// watchdogWord, as the only argument, makes the program a watchdog. Users have no use
// for it.
const watchdogWord = "__watchdog"

// Files of a watchdog beside the standard ones.
const (
	ordersFD  = 3
	reportsFD = 4
)

// startWatchdog starts a watchdog for what a will run. It is in a session of its own:
// what a terminal or a shell does to the guardian and its process group does not reach it.
func (a *app) startWatchdog() (*guard, error) {
	program, err := ownProgram()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program to run it as a watchdog: %w", err)
	}
	orders, toWatchdog, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromWatchdog, reports, err := os.Pipe()
	if err != nil {
		orders.Close()
		toWatchdog.Close()
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{"kith", watchdogWord},
		ExtraFiles:  []*os.File{orders, reports}, // ordersFD, reportsFD
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if f, ok := a.stdin.(*os.File); ok {
		cmd.Stdin = f
	}
	cmd.Stdout, cmd.Stderr = a.childOutput(), a.stderr
	cmd.WaitDelay = time.Second // where these are no files, and somebody keeps them open
	err = cmd.Start()
	orders.Close()
	reports.Close()
	if err != nil {
		toWatchdog.Close()
		fromWatchdog.Close()
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}

	post, heard := newMailbox(), make(chan report, 16)
	var wg sync.WaitGroup
	wg.Go(func() {
		enc := json.NewEncoder(toWatchdog)
		post.deliver(func(o order) error { return enc.Encode(o) })
		toWatchdog.Close()
	})
	wg.Go(func() {
		defer close(heard)
		dec := json.NewDecoder(fromWatchdog)
		for {
			var r report
			if dec.Decode(&r) != nil {
				break
			}
			heard <- r
		}
		fromWatchdog.Close()
		cmd.Wait()         // its end says nothing that it has not reported
		toWatchdog.Close() // nobody reads that any more
	})
	g, err := newGuard(heard, post)
	if err != nil {
		post.close()
		wg.Wait()
		return nil, err
	}
	g.release, g.wait = post.close, wg.Wait
	g.kill = func() { cmd.Process.Kill() }
	g.keeper = a.newKeeper
	return g, nil
}

// ownProgram returns a path of the program that this process is, also after an upgrade has
// replaced the file.
func ownProgram() (string, error) {
	if runtime.GOOS == "linux" {
		const self = "/proc/self/exe"
		if _, err := os.Stat(self); err == nil {
			return self, nil
		}
	}
	return os.Executable()
}

// runWatchdog is the whole life of a watchdog, and returns the exit code.
func runWatchdog() int {
	runtime.LockOSThread() // to which the children are bound; it ends with the process
	// Only the guardian, or its end, ends a watchdog. The signals are caught, not ignored,
	// since children inherit what is ignored; but what kith itself inherited so stays so.
	for s := syscall.Signal(1); s < 32; s++ {
		if !signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	in, out := os.NewFile(ordersFD, "orders"), os.NewFile(reportsFD, "reports")
	for _, f := range []*os.File{in, out} {
		info, err := f.Stat()
		if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			fmt.Fprintln(os.Stderr, "kith: a watchdog is nothing to be started by hand")
			return exitUsage
		}
	}
	syscall.CloseOnExec(ordersFD)
	syscall.CloseOnExec(reportsFD)

	orders := make(chan order)
	go func() {
		defer close(orders)
		dec := json.NewDecoder(in)
		for {
			var o order
			if dec.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	enc := json.NewEncoder(out)
	k := newKeeper(orders, func(r report) { enc.Encode(r) }) // a guardian that is gone needs no reports
	k.stdin, k.stdout, k.stderr = os.Stdin, os.Stdout, os.Stderr
	k.run()
	return exitOK
}
