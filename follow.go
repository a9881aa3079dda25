package kith

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/kith-go/kith/peers"
)

// source is where the list of peers comes from.
type source struct {
	// path is the peers file, "" without one (yet).
	path string
	// changes is the source as a stream; nil for a list that came with Config.
	changes iter.Seq2[peers.Change, error]
}

// open finds the list to start with.
func (n *Node) open(ctx context.Context) (source, *peers.Peers, error) {
	if n.cfg.Peers != nil {
		return source{}, n.cfg.Peers, nil
	}
	path := n.cfg.PeersPath
	if path == "" {
		found, err := peers.Find()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return source{}, nil, fmt.Errorf("kith: %w", err)
		}
		path = found
	}
	url, apikey, err := peers.SyncEnv()
	switch {
	case url != "" && err != nil:
		return source{}, nil, fmt.Errorf("kith: %w", err)
	case url != "":
		return n.openSync(ctx, url, apikey, path)
	case path != "":
		return n.openFile(path)
	}
	return n.openNothing()
}

func (n *Node) openFile(path string) (source, *peers.Peers, error) {
	list, err := peers.LoadFrom(path)
	if err == nil {
		err = list.Validate()
	}
	if err != nil {
		return source{}, nil, fmt.Errorf("kith: %w", err)
	}
	for _, w := range list.Warnings() {
		n.log.Warn("odd peers file", "path", path, "fault", w.String())
	}
	return source{path: path, changes: peers.Watch(n.work, path)}, list, nil
}

// openNothing makes a cluster of one that waits for a file to appear. A
// $PEERS_PATH that names nothing is a mistake, though.
func (n *Node) openNothing() (source, *peers.Peers, error) {
	places := peers.SearchPaths()
	if len(places) == 1 { // $PEERS_PATH is set
		_, err := peers.Find()
		return source{}, nil, fmt.Errorf("kith: %w", err)
	}
	list, err := alone(n.cfg.Name)
	if err != nil {
		return source{}, nil, err
	}
	n.log.Info("no peers file: a cluster of one on loopback, until one appears", "looked_in", places)
	return source{changes: peers.WatchWith(n.work, peers.WatchOptions{}, places...)}, list, nil
}

// openSync makes the URL the source and the peers file its last good copy, which
// serves while the server is away.
func (n *Node) openSync(ctx context.Context, url, apikey, path string) (source, *peers.Peers, error) {
	if path == "" {
		path = peers.Path()
	}
	fallback := n.cfg.Dir
	if fallback == "" {
		fallback, _ = stateParent(os.Geteuid()) // without one there is no fallback
	}
	s, err := peers.NewSyncer(peers.SyncerConfig{URL: url, APIKey: apikey, Path: path, FallbackDir: fallback, Logger: n.log})
	if err != nil {
		return source{}, nil, fmt.Errorf("kith: %w", err)
	}
	err = s.Once(ctx)
	list := s.Current()
	if list == nil {
		return source{}, nil, fmt.Errorf("kith: no list of peers: the server failed and there is no earlier copy: %w", err)
	}
	n.mu.Lock()
	n.sync = s
	n.mu.Unlock()
	n.wg.Go(func() { s.Run(n.work) })
	return source{path: path, changes: s.Updates(n.work)}, list, nil
}

// edition is a list that the source came with, and the file it stands in.
type edition struct {
	list *peers.Peers
	path string
}

// follow reads the source until the node ends.
func (n *Node) follow(src source) {
	if src.changes == nil {
		return
	}
	newest := make(chan edition, 1)
	n.wg.Go(func() { n.obey(newest) })
	for change, err := range src.changes {
		path := src.path
		if path == "" {
			path = change.Path
		}
		switch {
		case n.work.Err() != nil:
			return
		case err != nil && path == "" && errors.Is(err, fs.ErrNotExist):
			// Still no file anywhere.
		case err != nil:
			n.log.Warn("the newest list of peers is not usable, the one in force stays", "error", err)
			n.list.doubt(err)
		default:
			n.list.doubt(nil)
			select { // one that was not yet looked at is outdated
			case <-newest:
			default:
			}
			newest <- edition{change.Current, path}
		}
	}
}

const (
	firstReapply   = time.Second
	slowestReapply = 30 * time.Second
)

// obey puts each edition in force. It tries one that cannot be again, since a
// name may resolve and a port be free a moment later.
func (n *Node) obey(newest <-chan edition) {
	var current edition
	pause := firstReapply
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-n.work.Done():
			return
		case current = <-newest:
			pause = firstReapply
		case <-again.C:
			pause = min(2*pause, slowestReapply)
		}
		again.Stop()
		if err := n.adopt(current.list, current.path); err != nil {
			again.Reset(pause)
		}
	}
}

// adopt puts a list in force or notes why it cannot be.
func (n *Node) adopt(list *peers.Peers, path string) error {
	ctx, cancel := context.WithTimeout(n.work, applyTimeout)
	defer cancel()
	return n.apply(ctx, list, path)
}

// SetPeers replaces the list of a node that was started with Config.Peers and
// puts it in force. It blocks until ctx ends at the latest; but once the node has
// begun to move, because its own address changed, it finishes that, which takes
// seconds, ten at most. It returns ErrPeersFromFile on
// nodes that follow a file or a URL, ErrClosed, ctx's cause, and a
// *peers.InvalidError with every fault of list; after an error the old list
// stays.
func (n *Node) SetPeers(ctx context.Context, list *peers.Peers) error {
	if n.cfg.Peers == nil {
		return ErrPeersFromFile
	}
	if err := list.Validate(); err != nil {
		return fmt.Errorf("kith: %w", err)
	}
	return n.apply(ctx, list.Clone(), "")
}
