package kith

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kith-go/kith/internal/link"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/membership"
	"github.com/kith-go/kith/peers"
)

// Config says what a node is. Its zero value is useful: everything then comes
// from the peers file, and without one the node is a cluster of its own on
// loopback. Start copies it; changing it afterwards does nothing.
type Config struct {
	// Name says which peer of the list this node is; else PID does; else it is
	// the only peer of this host: by host name as peers.Localhost compares it,
	// or by IP address. Without any list Name is free, by default this host's
	// name.
	Name string
	PID  uint32

	// PeersPath is the peers file. Empty means to look where package peers
	// does: $PEERS_PATH, peers.json in the working directory, and so on. The
	// file is watched and changes take effect at once.
	PeersPath string
	// Peers is the list itself, instead of a file. Only SetPeers changes it.
	Peers *peers.Peers

	// Cluster names the cluster, so that two of them which meet by mistake
	// keep apart. Empty means "cluster" in the peers file's info, else "kith".
	Cluster string

	// Dir is where the node keeps what must survive it. Empty means memory for
	// a cluster of one and, for several peers, <name> in $STATE_DIRECTORY, else
	// in /var/lib/kith for root, else in $XDG_STATE_HOME/kith (by default
	// ~/.local/state/kith). It is made with mode 0700, belongs to one process at a
	// time, and must never be copied, shared or put back from a backup: the others
	// rely on what this node has promised there.
	Dir string

	// Key is the cluster key as NewKey and `kith keygen` print it. Empty means
	// the file $KITH_KEY_FILE, else the file "key" beside the peers file, if it
	// exists. The files must be readable by their owner only. It is a secret:
	// do not print a Config that has one.
	Key string
	// Insecure lets a node without a key listen beyond loopback. Then whoever
	// can send it packets can join, lie and take the cluster down.
	Insecure bool

	// Tags are labels for other nodes to read in their Members, at most
	// membership.MaxTags bytes of them; names must not begin with "_".
	Tags map[string]string

	// Messages says how this node exchanges messages with others.
	Messages Messages

	// Logger receives what happens. Nil discards it.
	Logger *slog.Logger
	// Network is the real one if nil. Tests have others.
	Network Network
	// Timing is the pace of failure detection.
	Timing Timing
	// SessionTTL is how long the cluster keeps what belongs to this node
	// (ephemeral keys, locks, places in groups) after it has fallen silent;
	// DefaultSessionTTL if 0. At least MinSessionTTL: a session must outlast the
	// elections of a bad day.
	SessionTTL time.Duration
	// IgnoreRefusals lets what belongs to a crashed node wait for the SessionTTL, too.
	//
	// Otherwise it is given to others within milliseconds, once the leader and a majority of
	// the voters have lost their connections to the node's control port and are refused at
	// the same address: that is what the kernel of a process that died answers. A node
	// that is cut off, paused or without power is silent instead, and keeps what it has for
	// the SessionTTL. Set this on all nodes where somebody else may close connections and
	// refuse new ones in the name of a process that lives: firewalls that REJECT and kill
	// established connections, proxies and load balancers between nodes, addresses that
	// pass to another host.
	IgnoreRefusals bool
	// Founders names those that found the cluster when other listed voters will not
	// come: at least a majority of the voters, and the same on all of them. Those left
	// out are let in when they do come. Empty means all voters, as it should be: if a
	// cluster exists already among those left out, a second one is founded.
	Founders []string

	snapshotBytes int64 // of log that call for a snapshot; 0: consensus decides
}

// Timing is the pace of failure detection; see [membership.Timing] for the
// formula. The zero value suits one data centre.
type Timing = membership.Timing

// maxClientName is the most bytes of a name in Messages.Clients.
const maxClientName = 255

// NewKey returns a fresh cluster key in the form that Config.Key takes and key
// files hold: one line of 54 characters.
func NewKey() string { return secret.NewKey().Text() }

// ready checks c, all of it at once, and returns a copy with the defaults that
// need nothing but c.
func (c Config) ready() (Config, error) {
	var errs []error
	if c.Peers != nil && c.PeersPath != "" {
		errs = append(errs, errors.New("fields Peers and PeersPath exclude one another"))
	}
	if c.Peers != nil {
		c.Peers = c.Peers.Clone()
		if err := c.Peers.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("field Peers: %w", err))
		}
	}
	if c.Cluster != "" {
		if err := membership.ValidateCluster(c.Cluster); err != nil {
			errs = append(errs, fmt.Errorf("field Cluster: %w", err))
		}
	}
	if err := membership.ValidateTags(c.Tags); err != nil {
		errs = append(errs, fmt.Errorf("field Tags: %w", err))
	}
	if err := c.Timing.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("field Timing: %w", err))
	}
	if c.SessionTTL != 0 && (c.SessionTTL < MinSessionTTL || c.SessionTTL > MaxSessionTTL) {
		errs = append(errs, fmt.Errorf("field SessionTTL: %v is not between %v and %v", c.SessionTTL, MinSessionTTL, MaxSessionTTL))
	}
	for _, name := range c.Messages.Clients {
		if name == "" || len(name) > maxClientName {
			errs = append(errs, fmt.Errorf("field Messages.Clients: the name %.40q has not 1 to %d bytes", name, maxClientName))
		}
	}
	if c.Key != "" {
		if _, err := secret.Parse(c.Key); err != nil {
			errs = append(errs, fmt.Errorf("field Key: %w", err))
		}
	}
	if len(errs) > 0 {
		return c, fmt.Errorf("kith: config: %w", errors.Join(errs...))
	}
	c.Tags = maps.Clone(c.Tags)
	c.Messages.Clients = slices.Clone(c.Messages.Clients)
	c.Messages.Handlers, c.Messages.Callers = slices.Clone(c.Messages.Handlers), slices.Clone(c.Messages.Callers)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Network == nil {
		c.Network = link.System{}
	}
	return c, nil
}

// key finds the cluster key; the zero Key if there is none. path is the peers
// file's, "" without one.
func (c Config) key(path string) (secret.Key, error) {
	if c.Key != "" {
		return secret.Parse(c.Key)
	}
	if file := os.Getenv("KITH_KEY_FILE"); file != "" {
		k, err := secret.Load(file)
		if err != nil {
			return k, fmt.Errorf("kith: $KITH_KEY_FILE: %w", err)
		}
		return k, nil
	}
	if path == "" {
		return secret.Key{}, nil
	}
	k, err := secret.Load(keyBeside(path))
	if errors.Is(err, os.ErrNotExist) {
		return secret.Key{}, nil
	}
	if err != nil {
		return k, fmt.Errorf("kith: the key beside %s: %w", path, err)
	}
	return k, nil
}

func keyBeside(peersPath string) string { return filepath.Join(filepath.Dir(peersPath), "key") }

// stateDir makes the state directory for a node called name in a list of n and
// returns its path, "" for a node that lives in memory.
func (c Config) stateDir(name string, n int) (string, error) {
	dir := c.Dir
	if dir == "" {
		if n < 2 {
			return "", nil
		}
		parent, err := stateParent(os.Geteuid())
		if err != nil {
			return "", err
		}
		dir = filepath.Join(parent, name)
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = c.files().MkdirAll(dir)
	}
	if err != nil {
		return "", fmt.Errorf("kith: state directory: %w; name one that this user may write with Config.Dir (kith agent --dir) or $STATE_DIRECTORY", err)
	}
	return dir, nil
}

func stateParent(euid int) (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // as systemd sets it
		return dir, nil
	}
	if euid == 0 {
		return "/var/lib/kith", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "kith"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("kith: state directory: %w; set Config.Dir (kith agent --dir) or $STATE_DIRECTORY", err)
	}
	return filepath.Join(home, ".local", "state", "kith"), nil
}

// clusterName is the label of gossip and handshakes.
func (c Config) clusterName(list *peers.Peers) string {
	if c.Cluster != "" {
		return c.Cluster
	}
	if name, ok := list.Info["cluster"].(string); ok && name != "" {
		return name
	}
	return "kith"
}

// checkBind refuses to expose a node without a key.
func (c Config) checkBind(self *peers.Peer, key secret.Key, path string) error {
	if !key.IsZero() || c.Insecure || self.IsLoopback() {
		return nil
	}
	where := "a file and set Config.Key or $KITH_KEY_FILE"
	if path != "" {
		where = keyBeside(path)
	}
	return fmt.Errorf("%w: refusing to listen on %s, where anybody could join: run `kith keygen --output %s` and give every replica that same file, or set Config.Insecure (kith agent --insecure)",
		ErrNoKey, self.ControlEndpoint(), where)
}

// address resolves the IP that this node tells others to dial.
func (c Config) address(ctx context.Context, self *peers.Peer) (netip.Addr, error) {
	ips, err := c.Network.Resolve(ctx, self.Host())
	if err == nil && len(ips) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("kith: the address of %s: cannot resolve %q: %w; set ip_address in the peers file", self.Name, self.Host(), err)
	}
	// All nodes should choose alike, and IPv4 is the safer guess.
	if i := slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() }); i >= 0 {
		return ips[i].Unmap(), nil
	}
	return ips[0], nil
}
