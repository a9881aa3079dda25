package kv_test

import (
	"errors"
	"testing"

	"github.com/kith-go/kith/internal/leak"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/kv"
)

func TestMain(m *testing.M) { leak.Main(m) }

var _ kv.Replica = (*replicatest.Node)(nil)

type node = replicatest.Node

func newNode() *node { return replicatest.New(nil).Join() }

// newStore is what most tests need.
func newStore(t testing.TB) (*kv.Store, *node) {
	n := newNode()
	t.Cleanup(n.Close)
	return kv.New(n), n
}

var errInjected = errors.New("injected")
