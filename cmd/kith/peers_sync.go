package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/peers"
)

// syncFlags are the flags of kith peers sync.
type syncFlags struct {
	url        string
	apiKeyFile string
	output     string
	force      bool
	asJSON     bool
}

func (a *app) peersSyncCommand() *cobra.Command {
	var sf syncFlags
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "fetch the peers file from a server, once",
		Long: `Fetches the list of peers from a server and writes it to the peers file, if it
differs. A list with faults is refused, and one that has lost more than half of its
peers, unless --force is given. An agent does this by itself every minute when
$PEERS_SYNC_URL is set.

Without --output it writes the file that a node would use, and when there is none
peers.json in the working directory (or $PEERS_PATH), as "kith peers add" does.

The API key is sent as X-Api-Key. It comes from --api-key-file, or else from
$PEERS_SYNC_APIKEY, which is sent to the server of $PEERS_SYNC_URL only.`,
		Example: `  PEERS_SYNC_URL=https://config.example/peers.json PEERS_SYNC_APIKEY=… kith peers sync
  kith peers sync --url https://config.example/peers.json --output -`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.syncPeers(cmd.Context(), sf) },
	}
	f := cmd.Flags()
	f.StringVar(&sf.url, "url", "", "where to fetch the list, a `URL` (default $PEERS_SYNC_URL)")
	f.StringVar(&sf.apiKeyFile, "api-key-file", "", "`file` with the API key (default: $PEERS_SYNC_APIKEY)")
	f.StringVarP(&sf.output, "output", "o", "", "write to this `file`, - for standard output (default: the file that a node would use)")
	f.BoolVar(&sf.force, "force", false, "accept a list with faults, or one that has lost more than half of its peers")
	jsonFlag(f, &sf.asJSON)
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

func (a *app) syncPeers(ctx context.Context, sf syncFlags) error {
	address := cmp.Or(sf.url, a.getenv("PEERS_SYNC_URL"))
	if address == "" {
		return usageError(errors.New("there is nowhere to fetch from: give --url, or set $PEERS_SYNC_URL"))
	}
	apiKey := a.getenv("PEERS_SYNC_APIKEY")
	if apiKey != "" && sf.apiKeyFile == "" && !sameServer(address, a.getenv("PEERS_SYNC_URL")) {
		apiKey = ""
		a.note("$PEERS_SYNC_APIKEY is for $PEERS_SYNC_URL and not sent elsewhere; name a key with --api-key-file")
	}
	if sf.apiKeyFile != "" {
		text, err := os.ReadFile(sf.apiKeyFile)
		if err != nil {
			return fmt.Errorf("--api-key-file: %w", err)
		}
		apiKey = strings.TrimSpace(string(text))
	}
	list, err := peers.SyncContext(ctx, address, apiKey)
	if err != nil {
		if text := err.Error(); strings.HasPrefix(text, "could not synchronize") { // which names no server
			err = fmt.Errorf("%s: %w", shown(address), err)
		}
		return err
	}
	if err := list.Validate(); err != nil && !sf.force {
		return fmt.Errorf("the server's list is refused: %w", at(shown(address), err))
	}
	if sf.output == "-" {
		return a.printJSON(list)
	}
	return a.storeSynced(ctx, list, sf)
}

// storeSynced writes a fetched list to the peers file if it differs.
func (a *app) storeSynced(ctx context.Context, list *peers.Peers, sf syncFlags) error {
	path, err := editPath(sf.output, true)
	if err != nil {
		return err
	}
	unlock, err := lockFor(ctx, a.stderr, path)
	if err != nil {
		return err
	}
	defer unlock()

	before, err := peers.LoadFrom(path)
	done := edited{Path: path, Created: errors.Is(err, fs.ErrNotExist)}
	if err != nil && !done.Created && !sf.force {
		return fmt.Errorf("%w\nthe file would be replaced with --force", err)
	}
	if len(list.Peers)*2 < len(before.Peers) && !sf.force {
		return fmt.Errorf("the server's list has %s where %s has %d: refused as a likely mistake, unless --force is given",
			count(len(list.Peers), "peer"), path, len(before.Peers))
	}
	same := !done.Created && sameJSON(before, list)
	if !same {
		if err := list.Dump(path); err != nil {
			return err
		}
	}
	diff := before.Diff(list)
	done.diffJSON = newDiffJSON(diff)
	if sf.asJSON {
		return a.printJSON(done)
	}
	a.sayDiff(diff)
	a.note("%s %s, %s", either(same, "nothing new for", "wrote"), path, count(len(list.Peers), "peer"))
	return nil
}

// sameServer reports whether two URLs name the same server.
func sameServer(a, b string) bool {
	u, errU := url.Parse(a)
	v, errV := url.Parse(b)
	return errU == nil && errV == nil && u.Scheme == v.Scheme && strings.EqualFold(u.Host, v.Host)
}

// shown returns the address of a server without what may be secret in it.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the server"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// sameJSON reports whether two lists would be written alike, metadata included.
func sameJSON(a, b *peers.Peers) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
