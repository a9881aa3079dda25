package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
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
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "write to this `file`, mode 0600, instead of standard output")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	jsonFlag(f, &asJSON)
	return exits(cmd, exitFailed)
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
