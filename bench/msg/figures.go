package main

import (
	"fmt"

	"github.com/kith-go/kith/bench/stage"
)

// The places of cells are whether they encrypt.
const (
	plain     stage.Place = "plain"
	encrypted stage.Place = "encrypted"
)

// What is measured.
const (
	requests      = "requests"
	requests64KiB = "requests of 64 KiB"
	requests1MiB  = "requests of 1 MiB"
	publications  = "publications 1 to 8"
)

// sizes of their bodies.
var sizes = map[string]int{requests: 128, requests64KiB: 64 << 10, requests1MiB: 1 << 20, publications: 128}

// row is cells that differ in who and in the number of callers.
type row struct {
	op      string
	at      stage.Place
	callers []int
}

func grid(o *options) []row {
	many, few := []int{1, 64, 512}, []int{1, 8}
	if o.Quick {
		many, few = []int{1, 64}, []int{1}
	}
	return []row{
		{requests, plain, many},
		{requests64KiB, plain, few},
		{requests1MiB, plain, few},
		{publications, plain, []int{1}},
		{requests, encrypted, many},
		{requests64KiB, encrypted, few},
		{requests1MiB, encrypted, few},
		{publications, encrypted, []int{1}},
	}
}

// rateName is "requests c=64" or "encrypted requests c=64".
func rateName(m stage.Cell, _ string) string {
	name := m.Op
	if m.Op != publications {
		name = fmt.Sprintf("%s c=%d", m.Op, m.Callers)
	}
	if m.At == encrypted {
		return "encrypted " + name
	}
	return name
}

// figure tells whether the figure of this name is wanted.
func (o *options) figure(name string) bool { return stage.Chosen{Only: o.Only}.Figure(name) }

// wanted tells whether a figure is wanted that m has a part in.
func (b *bench) wanted(m stage.Cell) bool {
	name := rateName(m, "")
	if m.Who.Ours() {
		if b.figure(name) {
			return true
		}
		for _, rival := range b.contenders {
			if !rival.Ours() && b.versus(m, rival) {
				return true
			}
		}
		return false
	}
	return b.figure(name) || b.versus(m, m.Who)
}

// versus tells whether a figure is wanted that sets a cell of kith's beside rival's.
func (b *bench) versus(m stage.Cell, rival *stage.Contender) bool {
	name := stage.VersusName(rateName(m, ""), rival)
	return b.figure(name) || m.Callers == stage.CPUCallers && b.figure(stage.CPUName(name))
}
