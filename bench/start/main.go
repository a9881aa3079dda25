// Command start measures what a node of one costs: the time from kith.Start to
// ready, its allocations, the resident memory of a program that does nothing
// else, and the size of that program. Run it in the bench directory:
//
//	go run ./start
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kith-go/kith"
)

func main() {
	if err := measure(); err != nil {
		log.Fatal(err)
	}
}

func measure() error {
	dir, err := os.MkdirTemp("", "kith-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "replica")
	stripped := program + "-stripped"
	for out, flags := range map[string]string{program: "", stripped: "-s -w"} {
		build := exec.Command("go", "build", "-ldflags", flags, "-o", out, "../examples/replica")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
	}
	if err := startTimes(dir); err != nil {
		return err
	}
	rss, err := resident(program, dir)
	if err != nil {
		return err
	}
	fmt.Printf("resident memory of examples/replica, a node of one, after 3 s: %.1f MiB\n", float64(rss)/1024)
	for _, p := range []string{program, stripped} {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		fmt.Printf("size of %s: %.1f MiB\n", filepath.Base(p), float64(info.Size())/(1<<20))
	}
	return nil
}

// startTimes starts and closes nodes of one in this process.
func startTimes(dir string) error {
	os.Setenv("HOME", dir) // no peers file there, nor here
	const rounds = 200
	var took []time.Duration
	var before, after runtime.MemStats
	var allocs uint64
	for range rounds {
		runtime.ReadMemStats(&before)
		start := time.Now()
		node, err := kith.Start(context.Background(), kith.Config{})
		if err != nil {
			return err
		}
		took = append(took, time.Since(start))
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
		if err := node.Close(); err != nil {
			return err
		}
	}
	slices.Sort(took)
	fmt.Printf("kith.Start of a node of one, %d rounds: p50 %v p99 %v, %d allocations each\n",
		rounds, took[rounds/2], took[rounds*99/100], allocs/rounds)
	return nil
}

// resident runs the program in an empty directory and reads its VmRSS, in KiB.
func resident(program, dir string) (kib int, err error) {
	cmd := exec.Command(program)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
	}()
	time.Sleep(3 * time.Second)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		}
	}
	return 0, errors.New("no VmRSS: this measurement needs Linux")
}
