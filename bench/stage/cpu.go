package stage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc, USER_HZ, on every Linux that Go runs on.
const tick = time.Second / 100

// CPUOf returns the CPU time, user and system, that the processes have used.
func CPUOf(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("CPU times need Linux's /proc: %w", err)
		}
		used, err := parseStat(string(stat))
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// parseStat finds utime and stime, the 14th and 15th field of proc(5). The
// second is the program's name in parentheses, which may hold anything.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/pid/stat: too short: %q", stat)
	}
	var used time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseUint(field, 10, 63)
		if err != nil {
			return 0, fmt.Errorf("/proc/pid/stat: %w", err)
		}
		used += time.Duration(ticks) * tick
	}
	return used, nil
}

// OwnMemory returns the resident memory of a process in bytes, without the pages
// of files that it has mapped: those of etcd's database would count otherwise.
func OwnMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory sizes need Linux's /proc: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 63)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no RssAnon", pid)
}
