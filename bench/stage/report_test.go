package stage

import (
	"os"
	"strings"
	"testing"
	"time"
)

func contenders() (kith, http, etcd, nats *Contender) {
	return &Contender{Name: "kith", Inside: true}, &Contender{Name: "kith", Path: " over HTTP"},
		&Contender{Name: "etcd"}, &Contender{Name: "nats"}
}

// rated is a sample of one second.
func rated(done uint64, cpu time.Duration) *Sample {
	s := &Sample{Took: time.Second, CPU: cpu}
	s.Latency.n, s.Latency.max = done, time.Second
	s.Latency.counts[bucket(5*time.Millisecond)] = done / 50
	s.Latency.counts[bucket(1234*time.Microsecond)] = done - done/50
	return s
}

func TestReport(t *testing.T) {
	kith, http, etcd, nats := contenders()
	r := NewReport(RateName)
	for _, done := range []uint64{20_000, 99_999, 23_456} { // the median counts
		r.Add(Cell{kith, "puts", Leader, 64}, rated(done, time.Second))
	}
	r.Add(Cell{etcd, "puts", Leader, 64}, rated(4311, 2*time.Second))
	r.Add(Cell{etcd, "puts", Follower, 64}, rated(4000, time.Second)) // kith has none
	r.Add(Cell{kith, "puts", Leader, 1}, rated(1000, time.Second))
	r.Add(Cell{etcd, "puts", Leader, 1}, rated(500, time.Second))
	r.Add(Cell{http, "puts", Leader, 64}, rated(10_000, time.Second))
	r.Add(Cell{nats, "puts", Leader, 64}, rated(20_000, time.Second))
	for _, ms := range []float64{30, 10, 20, 40} {
		r.AddEvent("leader killed to first write", "ms", kith, ms)
		r.AddEvent("leader killed to first write", "ms", etcd, 50*ms)
	}
	r.AddEvent("snapshot of a million keys", "ms", kith, 1234)

	var out strings.Builder
	if err := r.Print(&out); err != nil {
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
		if got := Median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}
