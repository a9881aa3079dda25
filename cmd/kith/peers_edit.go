package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kith-go/kith/peers"
)

// edited is what a command that edits a peers file did.
type edited struct {
	Path    string `json:"path"`
	Created bool   `json:"created,omitempty"`
	diffJSON
}

// editFlags are common to the commands that edit a peers file.
type editFlags struct {
	file   string
	force  bool
	asJSON bool
}

func (ef *editFlags) add(f *pflag.FlagSet) {
	f.StringVarP(&ef.file, "file", "f", "", "the peers `file` to edit (default: the one that a node would use)")
	f.BoolVar(&ef.force, "force", false, "write the list even if it has faults")
	jsonFlag(f, &ef.asJSON)
}

func (a *app) peersAddCommand() *cobra.Command {
	var ef editFlags
	var peer peers.Peer
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "add a peer to the peers file",
		Long: `Adds a peer to the peers file and writes the file at once, so that nobody ever
reads half of it. Running nodes follow. The list is checked first; one with faults
is refused, unless --force is given.

Without --file it edits the file that a node would use, and when there is none it
makes peers.json in the working directory (or $PEERS_PATH). Without --pid the
peer gets the next number after the largest. A --ip that is a host name is taken
for --hostname.`,
		Example: `  kith peers add alpha --ip 10.0.0.1 --port 6000
  kith peers add bravo --ip 127.0.0.1 --port 6001 --pid 7 --file test/peers.json
  kith peers add cedar --domain cedar.example.org --port 6000`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer.Name = args[0]
			if peer.Port == 0 {
				return usageError(errors.New("--port is missing: the message port, 1 to 65535"))
			}
			if _, err := netip.ParseAddr(peer.IPAddr); err != nil && peer.IPAddr != "" {
				// Digits and dots, or anything with a colon, name no host.
				if strings.Trim(peer.IPAddr, "0123456789.") == "" || strings.Contains(peer.IPAddr, ":") {
					return usageError(fmt.Errorf("--ip: %q is no IP address; an example is 10.0.0.1", peer.IPAddr))
				}
				if peer.Hostname == "" {
					peer.Hostname, peer.IPAddr = peer.IPAddr, ""
				}
			}
			if peer.Control() == 0 && !ef.force {
				return usageError(fmt.Errorf("--port %d leaves no room for the control port, 1000 above it: give --control-port; nothing was written", peer.Port))
			}
			if peer.Host() == "" {
				return usageError(errors.New("an address is missing: give --ip, or else --domain or --hostname"))
			}
			return a.editPeers(cmd.Context(), ef, true, func(list *peers.Peers) error { return addPeer(list, peer, ef.force) })
		},
	}
	f := cmd.Flags()
	f.Var((*address)(&peer.IPAddr), "ip", "IP `address` of the peer")
	f.Var((*decimal16)(&peer.Port), "port", "message `port` of the peer")
	f.Var((*decimal32)(&peer.PID), "pid", "precedence of the peer, a `number` (default: one more than the largest)")
	f.Var((*decimal16)(&peer.ControlPort), "control-port", "control `port` of the peer (default: port+1000)")
	f.StringVar(&peer.Hostname, "hostname", "", "host `name` of its machine, by which a node finds itself in the list")
	f.StringVar(&peer.Domain, "domain", "", "domain `name` of the peer")
	f.StringVar(&peer.Description, "description", "", "a `text` for people")
	ef.add(f)
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

// addPeer adds p to the list, giving it the next PID if it has none.
func addPeer(list *peers.Peers, p peers.Peer, force bool) error {
	if p.PID == 0 {
		for _, other := range list.Peers {
			if other != nil {
				p.PID = max(p.PID, other.PID)
			}
		}
		p.PID++
	}
	err := list.Add(&p)
	if errors.Is(err, peers.ErrExists) {
		return fmt.Errorf("%w; remove it first, or edit the file", err)
	}
	if _, invalid := errors.AsType[*peers.InvalidError](err); invalid && force {
		list.Peers = append(list.Peers, &p)
		return nil
	}
	return err
}

func (a *app) peersRemoveCommand() *cobra.Command {
	var ef editFlags
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "remove a peer from the peers file",
		Long: `Removes a peer from the peers file and writes the file at once. Running nodes
follow. The list that is left is checked first; one with faults is refused, unless
--force is given. The last peer cannot be removed: an empty list is a fault.`,
		Example: `  kith peers remove bravo
  kith peers remove bravo --file test/peers.json`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.editPeers(cmd.Context(), ef, false, func(list *peers.Peers) error {
				if len(list.Peers) == 1 && list.Peers[0].Name == args[0] && !ef.force {
					return &exitError{exitInvalid, fmt.Errorf("%s is the last peer; an empty list is never written (--force)", args[0])}
				}
				err := list.Remove(args[0])
				if errors.Is(err, peers.ErrNotFound) {
					return fmt.Errorf("%w; the list has %s", err, names(list))
				}
				return err
			})
		},
	}
	ef.add(cmd.Flags())
	return exits(cmd, exitFailed, exitInvalid, exitInterrupted)
}

// names lists who is in a list, for an error; long ones are cut.
func names(list *peers.Peers) string {
	const most = 10
	text := ""
	for i, p := range list.Sorted() {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(list.Peers)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += p.Name
	}
	if text == "" {
		return "no peers"
	}
	return text
}

// editPeers changes the peers file by edit and says what it did.
func (a *app) editPeers(ctx context.Context, ef editFlags, create bool, edit func(*peers.Peers) error) error {
	path, err := editPath(ef.file, create)
	if err != nil {
		return err
	}
	done, err := editFile(ctx, a.stderr, path, create, ef.force, edit)
	if err != nil {
		return err
	}
	if ef.asJSON {
		return a.printJSON(done)
	}
	a.sayDiff(peers.Diff{Added: done.Added, Removed: done.Removed, Changed: done.Changed})
	verb := "wrote"
	if done.Created {
		verb = "created"
	}
	a.note("%s %s", verb, done.Path)
	if a.getenv("PEERS_SYNC_URL") != "" {
		a.note("note: nodes that sync from $PEERS_SYNC_URL do not follow the file")
	}
	return nil
}

// editPath returns the file to edit. If there is none and one may be made, that
// is $PEERS_PATH, or peers.json here, where a newcomer will find it.
func editPath(file string, create bool) (string, error) {
	if file == "-" {
		return "", usageError(errors.New("--file names a file to edit, which standard input is not"))
	}
	if file != "" {
		return file, nil
	}
	found, err := peers.Find()
	if errors.Is(err, fs.ErrNotExist) && create {
		return peers.SearchPaths()[0], nil
	}
	if err != nil {
		return "", noFileHint(err)
	}
	return found, nil
}

// editFile changes the peers file at path by edit, under a lock that other kith commands
// respect, and refuses to write a list with faults unless forced.
func editFile(ctx context.Context, notes io.Writer, path string, create, force bool, edit func(*peers.Peers) error) (edited, error) {
	if !create { // then there is no directory to make either
		if _, err := peers.LoadFrom(path); errors.Is(err, fs.ErrNotExist) {
			return edited{}, err
		}
	}
	unlock, err := lockFor(ctx, notes, path)
	if err != nil {
		return edited{}, err
	}
	defer unlock()

	done := edited{Path: path}
	before, err := peers.LoadFrom(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		done.Created, before, err = true, &peers.Peers{Info: map[string]any{}}, nil
	}
	if err != nil {
		return edited{}, err
	}
	after := before.Clone()
	if err := edit(after); err != nil {
		return edited{}, at(path, err)
	}
	if err := after.Validate(); err != nil && !force {
		return edited{}, fmt.Errorf("%w\nnothing was written; mend this, or write it all the same with --force", at(path, err))
	}
	if err := after.Dump(path); err != nil {
		return edited{}, err
	}
	done.diffJSON = newDiffJSON(before.Diff(after))
	return done, nil
}
