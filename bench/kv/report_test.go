package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func contenders() (kith, http, etcd, nats *contender) {
	return &contender{name: "kith", inside: true}, &contender{name: "kith", path: " over HTTP"},
		&contender{name: "etcd"}, &contender{name: "nats"}
}

// rated is a sample of one second.
func rated(done uint64, cpu time.Duration) *sample {
	return &sample{Done: done, Took: time.Second, CPU: cpu, P50: 1234 * time.Microsecond, P99: 5 * time.Millisecond, Max: time.Second}
}

func TestReport(t *testing.T) {
	kith, http, etcd, nats := contenders()
	r := newReport()
	for _, done := range []uint64{20_000, 99_999, 23_456} { // the median counts
		r.add(cell{kith, puts, leader, 64}, rated(done, time.Second))
	}
	r.add(cell{etcd, puts, leader, 64}, rated(4311, 2*time.Second))
	r.add(cell{etcd, puts, follower, 64}, rated(4000, time.Second)) // kith has none
	r.add(cell{kith, puts, leader, 1}, rated(1000, time.Second))
	r.add(cell{etcd, puts, leader, 1}, rated(500, time.Second))
	r.add(cell{http, puts, leader, 64}, rated(10_000, time.Second))
	r.add(cell{nats, puts, leader, 64}, rated(20_000, time.Second))
	for _, ms := range []float64{30, 10, 20, 40} {
		r.addEvent(killName(""), "ms", kith, ms)
		r.addEvent(killName(""), "ms", etcd, 50*ms)
	}
	r.addEvent(snapshotName, "ms", kith, 1234)

	var out strings.Builder
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.txt"
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s\n(REWRITE=1 rewrites %s)", out.String(), want, golden)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}

// What is chosen by a figure's name is what the figure is made of, no more.
func TestChosenCells(t *testing.T) {
	kith, http, etcd, nats := contenders()
	for _, test := range []struct {
		only       string
		kith, http int
		etcd, nats int
		kills      bool
	}{
		{"", 20, 20, 20, 20, true},
		{"^puts leader c=64$", 1, 0, 1, 1, false},
		{"^puts leader over HTTP c=64$", 0, 1, 1, 1, false},
		{"over HTTP", 0, 20, 20, 20, true},
		{"CPU per 10k puts", 2, 2, 2, 2, false},
		{"leader killed", 0, 0, 0, 0, true},
		{"idle", 0, 0, 0, 0, false},
	} {
		args := []string{"-only", test.only}
		o, err := parse(args)
		if err != nil {
			t.Fatal(err)
		}
		chosen := chosen{only: o.only, paths: []string{kith.path, http.path}}
		count := func(who *contender) (n int) {
			for _, g := range grid {
				for _, callers := range o.callers {
					if chosen.cell(cell{who, g.op, g.at, callers}) {
						n++
					}
				}
			}
			return n
		}
		if count(kith) != test.kith || count(http) != test.http || count(etcd) != test.etcd || count(nats) != test.nats {
			t.Errorf("%q: %d, %d, %d and %d cells, want %+v", test.only, count(kith), count(http), count(etcd), count(nats), test)
		}
		if got := chosen.kill(etcd); got != test.kills {
			t.Errorf("%q: kill etcd: %t", test.only, got)
		}
	}
	rivalsOnly := chosen{only: nil}
	if !rivalsOnly.cell(cell{etcd, puts, leader, 1}) || !rivalsOnly.kill(etcd) {
		t.Error("without kith the rivals are not measured")
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-quick", "-kills", "3", "-systems", "kith,etcd"})
	if err != nil {
		t.Fatal(err)
	}
	if o.kills != 3 || o.rounds != 1 || o.window != 500*time.Millisecond || len(o.callers) != 2 || strings.Join(o.systems, " ") != "kith etcd" {
		t.Errorf("-quick, with flags beside it, is %+v", o)
	}
	for _, args := range [][]string{
		{"-only", "("}, {"-systems", "consul"}, {"-time", "0s"}, {"-rounds", "0"}, {"-kills", "-1"}, {"-conns", "0"},
		{"-million", "0"}, {"surplus"}, {"-nonsense"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestFileSystem(t *testing.T) {
	if _, err := os.Stat("/proc/self/mounts"); err != nil {
		t.Skip("no /proc")
	}
	if kind, err := fileSystem("/proc/self"); err != nil || kind != "proc" {
		t.Errorf("/proc is on %q, error %v", kind, err)
	}
	if _, err := fileSystem("/nowhere/at/all"); err == nil {
		t.Error("no error for a directory that is not there")
	}
	for _, test := range []struct {
		mount, dir string
		want       bool
	}{{"/", "/tmp", true}, {"/tmp", "/tmp", true}, {"/tmp", "/tmp/a", true}, {"/tmp", "/tmpfs", false}} {
		if got := within(test.mount, test.dir); got != test.want {
			t.Errorf("within(%q, %q) = %t", test.mount, test.dir, got)
		}
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, port := range ports {
		if seen[port] || !free(port) {
			t.Errorf("port %d is given twice, or taken", port)
		}
		seen[port] = true
	}
}
