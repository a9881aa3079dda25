package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/secret"
	"github.com/kith-go/kith/peers"
)

func (a *app) keygenCommand() *cobra.Command {
	var output string
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:     "keygen",
		GroupID: groupFile,
		Short:   "make a cluster key",
		Long: `Prints a fresh cluster key. Whoever holds the key belongs to the cluster; gossip
and everything between nodes is encrypted with it.

Put it into a file named "key" beside the peers.json of every node, readable by
its owner only (mode 0600, which --output takes care of), or name the file in
$KITH_KEY_FILE. All nodes of a cluster need the same key.`,
		Example: `  kith keygen --output key          beside peers.json; then copy it to the other nodes
  kith keygen | ssh bravo 'umask 077; cat > /etc/kith/key'`,
		Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			key := kith.NewKey()
			if output != "" && output != "-" {
				if err := writeKey(output, key, force); err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(map[string]string{"path": output})
				}
				a.say("wrote a new cluster key to %s; every node of the cluster needs it", output)
				return nil
			}
			if asJSON {
				return a.printJSON(map[string]string{"key": key})
			}
			a.say("%s", key)
			return nil
		},
	}
	cmd.AddCommand(a.keygenCurveCommand())
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "write to this `file`, mode 0600, instead of standard output")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	jsonFlag(f, &asJSON)
	return exits(cmd, exitFailed)
}

// curveKeys is what a program needs to connect to the message port.
type curveKeys struct {
	Server string `json:"server"`
	Public string `json:"public"`
	Secret string `json:"secret"`
}

func (a *app) keygenCurveCommand() *cobra.Command {
	var keyFile, output string
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "curve NAME",
		Short: "print the keys with which a program outside the cluster connects",
		Long: `Prints the three CURVE keys with which a ZeroMQ program that is no peer connects to the
message port of any node: the cluster's public key, and the program's own public and
secret key. They follow from the cluster key and NAME, so they are the same whenever
this is run. Nodes let those programs in that their configuration names: kith agent
--message-client NAME. Take the name off there to shut one out. The program itself
needs no cluster key. docs/wire.md tells how to talk to a node.

The lines are shell assignments, with the names that examples/python-client reads.`,
		Example: `  kith keygen curve reporter --output reporter.env
  ( set -a; . ./reporter.env; python3 client.py tcp://10.0.0.1:7000 call sum "1 2 3" )`,
		Args: exactArgs("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] == "" || len(args[0]) > 255 {
				return usageError(errors.New("NAME has 1 to 255 bytes"))
			}
			key, err := a.clusterKey(keyFile)
			if err != nil {
				return err
			}
			pair := key.CurveClient(args[0])
			keys := curveKeys{key.CurveServer().Public, pair.Public, pair.Secret}
			if asJSON {
				return a.printJSON(keys)
			}
			text := keys.assignments()
			if output != "" && output != "-" {
				if err := writeKey(output, text, force); err != nil {
					return err
				}
				a.say("wrote the keys of %s to %s", args[0], output)
				return nil
			}
			a.say("%s", text)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "key-file", "", "`file` with the cluster key (default $KITH_KEY_FILE, else key beside the peers file)")
	f.StringVarP(&output, "output", "o", "", "write to this `file`, mode 0600, instead of standard output")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	jsonFlag(f, &asJSON)
	return exits(cmd, exitFailed)
}

// assignments are the keys for a shell. Z85 has no single quotes.
func (k curveKeys) assignments() string {
	return fmt.Sprintf("KITH_SERVER_KEY='%s'\nKITH_CLIENT_KEY='%s'\nKITH_CLIENT_SECRET='%s'", k.Server, k.Public, k.Secret)
}

// clusterKey reads the key that an agent would use.
func (a *app) clusterKey(file string) (secret.Key, error) {
	if file == "" {
		file = a.getenv("KITH_KEY_FILE")
	}
	if file == "" {
		file = filepath.Join(filepath.Dir(peers.Path()), "key")
	}
	key, err := secret.Load(file)
	if err != nil {
		return key, fmt.Errorf("the cluster key: %w; name its file with --key-file", err)
	}
	return key, nil
}

// writeKey stores key in a file that only its owner reads.
func writeKey(path, key string, force bool) error {
	if force {
		// The old file may be readable by others, so its mode is not kept.
		if err := replaceFile(path, []byte(key+"\n"), 0o600); err != nil {
			return fmt.Errorf("replacing the key file: %w", err)
		}
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; a node with another key is another cluster's, so it is replaced only with --force", path)
	}
	if err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path) // half a key is worse than none
		return fmt.Errorf("writing the key file: %w", err)
	}
	return nil
}
