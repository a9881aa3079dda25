package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kith-go/kith/bench/stage"
)

// zookeeperJar is where Debian's package puts ZooKeeper.
const zookeeperJar = "/usr/share/java/zookeeper.jar"

// findZookeeper returns ZooKeeper's version, or why it cannot be measured.
func findZookeeper() (string, error) {
	_, err := os.Stat(zookeeperJar)
	var said []byte
	if err == nil {
		said, err = exec.Command("java", "-cp", zookeeperJar, "org.apache.zookeeper.version.VersionInfoMain").Output()
	}
	if err != nil {
		return "", fmt.Errorf("%w; on Debian: apt-get install zookeeper", err)
	}
	// "Apache ZooKeeper, version 3.8.0 2024-12-29 17:54 UTC"
	_, version, _ := strings.Cut(string(said), "version ")
	version, _, _ = strings.Cut(version, " ")
	return "ZooKeeper " + version, nil
}

// zookeeperCommand is one server with the settings of Debian's example. forceSync is
// its default, too: it syncs before it acknowledges.
func zookeeperCommand(s stage.Spec) (*exec.Cmd, error) {
	self := s.Members[s.Node]
	conf := fmt.Sprintf(`tickTime=2000
initLimit=10
syncLimit=5
dataDir=%s
clientPort=%d
clientPortAddress=127.0.0.1
maxClientCnxns=0
4lw.commands.whitelist=srvr
`, self.Dir, self.Client)
	for i, m := range s.Members {
		conf += fmt.Sprintf("server.%d=127.0.0.1:%d:%d\n", i+1, m.Peer, m.Third)
	}
	path := self.Dir + ".cfg"
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(self.Dir, "myid"), []byte(strconv.Itoa(s.Node+1)), 0o644); err != nil {
		return nil, err
	}
	return exec.Command("java", "-cp", zookeeperJar, "-Dzookeeper.forceSync=yes", "-Dzookeeper.admin.enableServer=false",
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", path), nil
}

// zookeeperClient uses the usual recipe, zk.Lock. As with etcd, sessions belong to one
// job; in ZooKeeper a session is a connection.
type zookeeperClient struct {
	members []stage.Member
	size    int // connections to one node that callers share
	departures
}

func zookeeperLoad(_ context.Context, s stage.Spec) (client, func(), error) {
	return &zookeeperClient{members: s.Members, size: s.Conns}, func() {}, nil
}

// The timeouts that sessions ask for. The servers make of the shorter what their
// settings allow: two ticks, four seconds.
const (
	longSession  = 30 * time.Second
	shortSession = time.Second
)

var anybody = zk.WorldACL(zk.PermAll)

// silent is a zk.Logger.
type silent struct{}

func (silent) Printf(string, ...any) {}

// connect opens a session at node. Calls wait until it is there; they know no
// context, but the connection's end ends them.
func (c *zookeeperClient) connect(node int, timeout time.Duration) (*zk.Conn, error) {
	conn, _, err := zk.Connect([]string{c.members[node].ClientAddr()}, timeout, zk.WithLogger(silent{}))
	return conn, err
}

// Serves creates a node that goes with the connection.
func (c *zookeeperClient) Serves(ctx context.Context, node int) error {
	conn, err := c.connect(node, longSession)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	_, err = conn.Create("/probe-", nil, zk.FlagEphemeral|zk.FlagSequence, anybody)
	return err
}

// Leader asks all of them.
func (c *zookeeperClient) Leader(ctx context.Context, _ int) (int, error) {
	var errs []error
	for i := range c.members {
		mode, err := c.server(ctx, i, "Mode")
		if mode == "leader" {
			return i, nil
		}
		errs = append(errs, err)
	}
	return 0, errors.Join(append(errs, errors.New("zookeeper: no leader"))...)
}

// Applied returns the last transaction's number.
func (c *zookeeperClient) Applied(ctx context.Context, node int) (uint64, error) {
	zxid, err := c.server(ctx, node, "Zxid")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(zxid, 0, 64)
}

// server returns one of the lines with which a server describes itself.
func (c *zookeeperClient) server(ctx context.Context, node int, field string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.members[node].ClientAddr())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, "srvr"); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), field+": "); ok {
			return value, nil
		}
	}
	return "", errors.Join(fmt.Errorf("zookeeper: the server does not tell its %s", field), lines.Err())
}

// zookeeperConns opens connections and closes them.
type zookeeperConns struct {
	client *zookeeperClient
	all    []*zk.Conn
}

func (z *zookeeperConns) open(node int, timeout time.Duration) (*zk.Conn, error) {
	conn, err := z.client.connect(node, timeout)
	if err == nil {
		z.all = append(z.all, conn)
	}
	return conn, err
}

func (z *zookeeperConns) close() {
	var wg sync.WaitGroup
	for _, conn := range z.all {
		wg.Go(conn.Close)
	}
	wg.Wait()
}

// contenders share connections as etcd's do.
func (c *zookeeperClient) contenders(_ context.Context, seats []seat) ([]contender, func(), error) {
	conns := &zookeeperConns{client: c}
	type connection struct{ node, i int }
	shared := make(map[connection]*zk.Conn)
	named := make(map[string]int)
	for _, at := range seats {
		named[at.Lock]++
	}
	var all []contender
	for i, at := range seats {
		key := connection{at.Node, i % c.size}
		conn := shared[key]
		if named[at.Lock] > 1 || conn == nil {
			var err error
			if conn, err = conns.open(at.Node, longSession); err != nil {
				conns.close()
				return nil, nil, err
			}
			shared[key] = conn
		}
		all = append(all, zookeeperContender{zk.NewLock(conn, "/locks/"+at.Lock, anybody)})
	}
	return all, conns.close, nil
}

func (c *zookeeperClient) candidate(_ context.Context, at seat) (contender, func(), error) {
	conns := &zookeeperConns{client: c}
	conn, err := conns.open(at.Node, shortSession)
	if err != nil {
		return nil, nil, err
	}
	return zookeeperContender{zk.NewLock(conn, "/elections/"+at.Lock, anybody)}, conns.close, nil
}

// zookeeperContender cannot give up waiting: who waits too long is killed by the
// parent.
type zookeeperContender struct{ lock *zk.Lock }

func (z zookeeperContender) acquire(context.Context) error { return z.lock.Lock() }
func (z zookeeperContender) release(context.Context) error { return z.lock.Unlock() }

func (c *zookeeperClient) member(_ context.Context, node int, name string) (member, error) {
	conn, err := c.connect(node, longSession)
	return zookeeperMember{conn, name}, err
}

type zookeeperMember struct {
	conn *zk.Conn
	name string
}

// join creates the node that an election's recipe creates, and waits for nothing.
func (m zookeeperMember) join(_ context.Context, group string) (func(context.Context) error, error) {
	for _, parent := range []string{"/groups", "/groups/" + group} {
		if _, err := m.conn.Create(parent, nil, 0, anybody); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return nil, err
		}
	}
	path, err := m.conn.Create("/groups/"+group+"/member-", []byte(m.name), zk.FlagEphemeral|zk.FlagSequence, anybody)
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return m.conn.Delete(path, -1) }, nil
}
