package stage

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// Describe prints what the figures depend on: the machine, the file system that
// dir is on, and the software. what says more, in lines of its own.
func Describe(w io.Writer, dir string, software []string, what string) error {
	kind, err := fileSystem(dir)
	if err != nil {
		return err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("this benchmark needs Linux: %w", err)
	}
	fmt.Fprintf(w, "machine: %d CPUs (%s), Linux %s, state on %s in %s\n", runtime.NumCPU(), cpuModel(),
		strings.TrimSpace(string(kernel)), kind, dir)
	if kind == "tmpfs" || kind == "ramfs" {
		fmt.Fprintln(w, "WARNING: that is memory, where fsync costs nothing. Name a directory on a disk with -dir.")
	}
	_, err = fmt.Fprintf(w, "software: %s, %s\n%s\n\n", runtime.Version(), strings.Join(software, ", "), what)
	return err
}

// fileSystem returns the type of the one that dir is on: that of the longest
// mount point above dir, the last of several on the same.
func fileSystem(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("this benchmark needs Linux: %w", err)
	}
	defer mounts.Close()
	best, kind := "", "an unknown file system"
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		if point := fields[1]; len(point) >= len(best) && within(point, dir) {
			best, kind = point, fields[2]
		}
	}
	return kind, nil
}

func within(mount, dir string) bool {
	return mount == "/" || dir == mount || strings.HasPrefix(dir, mount+"/")
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// ModuleVersion returns the version of a module that this program is built with.
func ModuleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "(version unknown)"
}
