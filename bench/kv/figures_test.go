package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kith-go/kith/bench/stage"
)

func contenders() (kith, http, etcd, nats *stage.Contender) {
	return &stage.Contender{Name: "kith", Inside: true}, &stage.Contender{Name: "kith", Path: " over HTTP"},
		&stage.Contender{Name: "etcd"}, &stage.Contender{Name: "nats"}
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
		chosen := stage.Chosen{Only: o.Only, Paths: []string{kith.Path, http.Path}, Name: stage.RateName}
		count := func(who *stage.Contender) (n int) {
			for _, g := range grid {
				for _, callers := range o.callers {
					if chosen.Cell(stage.Cell{Who: who, Op: string(g.op), At: g.at, Callers: callers}) {
						n++
					}
				}
			}
			return n
		}
		if count(kith) != test.kith || count(http) != test.http || count(etcd) != test.etcd || count(nats) != test.nats {
			t.Errorf("%q: %d, %d, %d and %d cells, want %+v", test.only, count(kith), count(http), count(etcd), count(nats), test)
		}
		if got := killed(chosen, etcd); got != test.kills {
			t.Errorf("%q: kill etcd: %t", test.only, got)
		}
	}
	rivalsOnly := stage.Chosen{Name: stage.RateName}
	if !rivalsOnly.Cell(stage.Cell{Who: etcd, Op: string(puts), At: stage.Leader, Callers: 1}) || !killed(rivalsOnly, etcd) {
		t.Error("without kith the rivals are not measured")
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-quick", "-kills", "3", "-systems", "kith,etcd"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Kills != 3 || o.Rounds != 1 || o.Window != 500*time.Millisecond || len(o.callers) != 2 || strings.Join(o.Systems, " ") != "kith etcd" {
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
