package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/internal/secret"
)

// leaveTimeout bounds how long an agent takes to say goodbye.
const leaveTimeout = 10 * time.Second

// agentOptions are the flags of kith agent.
type agentOptions struct {
	config        kith.Config
	keyFile       string
	http          string
	httpTokenFile string
	logLevel      string
	logFormat     string
	asJSON        bool
}

func (a *app) agentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:     "agent",
		GroupID: groupNode,
		Short:   "run a node",
		Long: `Runs a node as a process of its own, until SIGINT, SIGTERM or SIGHUP: then it
says goodbye to the others, for at most ten seconds, and ends. A second signal ends it
at once. It neither forks nor writes a pid file; under systemd, ExecStart=kith
agent is all it takes.

Without flags everything comes from the peers file ("kith peers path" says which):
the node is the only peer of this host in it, or the one that --name or --pid
names. Without a file it is a cluster of one, on the loopback.

Logs go to standard error. When the node is up, one line on standard output says
so and names its addresses. If the node ends by itself, because another one has
taken its name for example, the agent says why and fails.`,
		Example: `  kith agent
  kith agent --name alpha --peers ./peers.json --http 127.0.0.1:0
  kith agent --http 0.0.0.0:2033 --http-token-file token    for other machines, too
  kith agent --tag zone=a --tag rack=7 --log-format json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.config.Name, "name", "", "which peer of the list this node is, by `name`")
	f.Var((*decimal32)(&o.config.PID), "pid", "which peer of the list this node is, by precedence, a `number`")
	f.StringSliceVar(&o.config.Founders, "founders", nil, "found the cluster with these voters alone, by `names`: at least a majority, the same on each; only if the others are gone for good")
	f.DurationVar(&o.config.SessionTTL, "session-ttl", 0, "how long the cluster waits for this node when it falls silent, before what belongs to it goes (default "+kith.DefaultSessionTTL.String()+")")
	f.StringVar(&o.config.PeersPath, "peers", "", "the peers `file` (default: looked up, see kith peers path)")
	f.StringVar(&o.config.Dir, "dir", "", "state `directory` (default: NAME in $STATE_DIRECTORY, /var/lib/kith for root, else ~/.local/state/kith)")
	f.StringVar(&o.keyFile, "key-file", "", "`file` with the cluster key (default $KITH_KEY_FILE, else key beside the peers file)")
	f.BoolVar(&o.config.Insecure, "insecure", false, "serve other machines without a cluster key")
	f.StringVar(&o.config.Cluster, "cluster", "", "`label` of the cluster; nodes with another one are strangers (default: \"cluster\" in the file's info, else \"kith\")")
	f.Var((*tags)(&o.config.Tags), "tag", "label of this node, `key=value`; may be repeated")
	f.StringVar(&o.http, "http", httpapi.DefaultAddr, `serve the HTTP API at `+"`host:port`"+`; port 0 picks one, "off" serves none`)
	f.StringVar(&o.httpTokenFile, "http-token-file", "", "`file` with the token that HTTP clients must send; needed beyond the loopback")
	f.StringVar(&o.logLevel, "log-level", "info", "`level` to log: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the log: text or json")
	f.BoolVar(&o.config.Messages.Off, "no-messages", false, "carry no messages: the message port is another program's")
	f.StringSliceVar(&o.config.Messages.Clients, "message-client", nil, "let the programs with these `names`, which are no peers, connect to the message port; kith keygen curve NAME prints their keys")
	jsonFlag(f, &o.asJSON)
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

// agentReady is what an agent says once it is up.
type agentReady struct {
	Ready   bool   `json:"ready"`
	Name    string `json:"name"`
	PID     uint32 `json:"pid"`
	Cluster string `json:"cluster"`
	Control string `json:"control_address"`
	HTTP    string `json:"http,omitempty"`
	Process int    `json:"process"`
}

// runAgent runs a node until ctx is done or the node ends.
func (a *app) runAgent(ctx context.Context, o agentOptions) error {
	log, err := a.newLogger(o.logLevel, o.logFormat)
	if err != nil {
		return usageError(err)
	}
	o.config.Logger = log
	if o.keyFile != "" {
		key, err := secret.Load(o.keyFile)
		if err != nil {
			return fmt.Errorf("--key-file: %w", err)
		}
		o.config.Key = key.Text()
	}
	token, err := agentToken(o.httpTokenFile, log)
	if err != nil {
		return err
	}
	// The port comes first: a node should not join only to leave because the
	// port is taken.
	var ln net.Listener
	if o.http != "" && o.http != "off" {
		if ln, err = listenHTTP(ctx, o.http, token); err != nil {
			return err
		}
		defer ln.Close() // a second time once Serve has closed it, which is harmless
	}
	node, err := kith.Start(ctx, o.config)
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	defer node.Close()
	return a.serveNode(ctx, node, ln, httpapi.Options{Token: token, Logger: log}, o.asJSON)
}

// listenHTTP opens the port of the HTTP API.
func listenHTTP(ctx context.Context, addr, token string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usageError(fmt.Errorf("--http %q is not host:port: %s", addr, portHint(addr, err)))
	}
	ln, err := httpapi.Listen(ctx, addr, token)
	if err == nil || errors.Is(err, httpapi.ErrExposed) { // which says what to do
		return ln, err
	}
	return nil, fmt.Errorf("%w; choose another address with --http host:port, or none with --http off", err)
}

// portHint says what to write in place of an address that is not host:port.
func portHint(addr string, err error) string {
	_, port, _ := net.SplitHostPort(httpapi.DefaultAddr)
	host := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	if strings.Trim(host, "0123456789") == "" {
		return "write 127.0.0.1:" + host
	}
	if _, ipErr := netip.ParseAddr(host); ipErr == nil || !strings.ContainsAny(host, ":[]/") {
		return "write " + net.JoinHostPort(host, port)
	}
	return err.Error()
}

// tags are the values of --tag.
type tags map[string]string

// Set implements [pflag.Value].
func (t *tags) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return errors.New("give key=value")
	}
	if old, twice := (*t)[key]; twice {
		return fmt.Errorf("%s is given twice, %s=%s before; give each key once", key, key, old)
	}
	if *t == nil {
		*t = make(tags)
	}
	(*t)[key] = value
	return nil
}

// String implements [pflag.Value]; help shows no default.
func (t *tags) String() string { return "" }

// Type implements [pflag.Value].
func (t *tags) Type() string { return "key=value" }

// serveNode serves node on ln, if there is one, until ctx is done or one of them
// ends.
func (a *app) serveNode(ctx context.Context, node *kith.Node, ln net.Listener, opts httpapi.Options, asJSON bool) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	address := ""
	if ln == nil {
		context.AfterFunc(serving, func() { served <- nil })
	} else {
		address = "http://" + ln.Addr().String()
		go func() { served <- httpapi.Serve(serving, ln, httpapi.New(node, opts)) }()
	}
	err := a.announce(node.Status(), address, asJSON)
	if err != nil {
		stop()
		return errors.Join(fmt.Errorf("the ready line cannot be written: %w", err), <-served)
	}
	select {
	case <-ctx.Done():
		opts.Logger.Info("leaving", "node", node.Name())
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		if err := node.Leave(leave); err != nil {
			opts.Logger.Warn("the others were not told in time; they will notice", "error", err)
		}
	case <-node.Context().Done():
		err = fmt.Errorf("the node has ended: %w", context.Cause(node.Context()))
	case err = <-served:
		return err // the listener broke; the deferred Close ends the node
	}
	stop()
	return errors.Join(err, <-served)
}

// announce says on standard output that the node is up.
func (a *app) announce(s kith.Status, address string, asJSON bool) error {
	if asJSON {
		return a.printJSONLine(agentReady{
			Ready: true, Name: s.Name, PID: s.PID, Cluster: s.Cluster,
			Control: s.ControlAddr.String(), HTTP: address, Process: os.Getpid(),
		})
	}
	if address == "" {
		address = "off"
	}
	_, err := fmt.Fprintf(a.stdout, "ready name=%s pid=%d cluster=%s control=%s http=%s\n",
		s.Name, s.PID, s.Cluster, s.ControlAddr, address)
	return err
}

// newLogger returns a logger to standard error.
func (a *app) newLogger(level, format string) (*slog.Logger, error) {
	var opts slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)
	}
	opts.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, &opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, &opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}

// agentToken reads the token file of an agent, "" for none.
func agentToken(path string, log *slog.Logger) (string, error) {
	if path == "" {
		return "", nil
	}
	token, err := readToken(path)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w", err)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("--http-token-file: %s holds more than one word", path)
	}
	var info fs.FileInfo
	if info, err = os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others can read the token file; mend it with chmod 600", "file", path, "mode", info.Mode().Perm().String())
	}
	return token, nil
}
