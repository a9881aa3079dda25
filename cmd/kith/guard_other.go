//go:build !unix

package main

import "sync"

// watchdogWord is no command where there are no watchdogs.
const watchdogWord = "__watchdog"

func runWatchdog() int { return exitUsage }

// startWatchdog watches in this process: here nobody else could.
func (a *app) startWatchdog() (*guard, error) {
	post, orders, heard := newMailbox(), make(chan order), make(chan report, 16)
	var wg sync.WaitGroup
	over := make(chan struct{})
	k := a.newKeeper()
	k.orders, k.report = orders, func(r report) { heard <- r }
	wg.Go(func() {
		defer close(orders)
		post.deliver(func(o order) error {
			select {
			case orders <- o:
			case <-over:
			}
			return nil
		})
	})
	wg.Go(func() {
		defer close(heard)
		defer close(over)
		k.run()
	})
	g, err := newGuard(heard, post)
	if err != nil {
		return nil, err
	}
	g.release, g.wait, g.kill, g.keeper = post.close, wg.Wait, func() {}, a.newKeeper
	return g, nil
}
