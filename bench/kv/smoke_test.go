package main

import (
	"testing"

	"github.com/kith-go/kith/bench/stage"
	"github.com/kith-go/kith/bench/stage/smoke"
)

func TestMain(m *testing.M) { smoke.Main(m, main) }

// A little of everything, in half a minute on an idle machine. It shows that the
// benchmark works.
func TestSmoke(t *testing.T) {
	for _, test := range []struct {
		systems, only string
		figures       []string
	}{
		{"kith,etcd", `puts leader( over HTTP)? c=1$|^linearizable reads follower c=64|killed.*write$|memory|restart`, []string{
			`puts leader c=1: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`puts leader over HTTP c=1: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`linearizable reads follower c=64: kith \d+/s etcd \d+/s ratio \d+\.\d`,
			`CPU per 10k linearizable reads follower c=64: kith \S+ s etcd \S+ s ratio \d+\.\d`,
			`leader killed to first write: kith \S+ ms etcd \S+ ms ratio \d+\.\d`,
			`memory per million keys in one server: kith \S+ MiB etcd \S+ MiB ratio \S+`,
			`restart of a killed server with a million keys: kith \S+ ms etcd \S+ ms ratio \d+\.\d`,
		}},
		{"kith,nats", `puts leader c=1$|local reads .*c=1$`, []string{
			`puts leader c=1: kith \d+/s nats \d+/s ratio \d+\.\d`,
			`local reads follower c=1: kith \d+/s nats \d+/s ratio \d+\.\d`,
		}},
	} {
		t.Run(test.systems, func(t *testing.T) {
			smoke.Run(t, []string{"-quick", "-extra", "-million", "12000", "-systems", test.systems, "-only", test.only}, test.figures)
		})
	}
}

// Whatever the children are doing, an interrupt ends them and leaves nothing: the
// servers and their load.
func TestInterrupt(t *testing.T) {
	smoke.Interrupt(t, []string{"-systems", "etcd", "-time", "1h", "-only", "^puts leader c=1$"}, "puts leader", stage.ClusterSize+1)
}
