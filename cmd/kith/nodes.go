package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
	"github.com/kith-go/kith/membership"
)

func (a *app) nodesCommand() *cobra.Command {
	var af agentFlags
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:     "nodes",
		GroupID: groupNode,
		Short:   "show who is in the cluster and who is missing",
		Long: `Shows the nodes that gossip knows merged with those of the peers file, as one
running agent sees them. A peer of the file that was never seen is "absent".

Ends with code 3 when a peer of the file is not alive. With --watch it goes on
until interrupted, which is code 0, or until the agent ends (code 4): on a
terminal it redraws the table, elsewhere it prints one line for every change (with
--json, one JSON object, the first for the state at the start).`,
		Example: `  kith nodes
  kith nodes --watch
  kith nodes --json --api 10.0.0.1:2033 --token-file token | jq '.nodes[].name'`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(af)
			if err != nil {
				return err
			}
			defer c.Close()
			if watch {
				return a.watchNodes(cmd.Context(), c, asJSON)
			}
			nodes, err := c.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return a.showNodes(nodes, asJSON)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&watch, "watch", "w", false, "go on and show every change, until interrupted, or until the agent ends (code 4)")
	jsonFlag(f, &asJSON)
	af.add(f)
	return exits(cmd, exitFailed, exitUnhealthy, exitUnreachable, exitInterrupted)
}

func (a *app) showNodes(nodes httpapi.Nodes, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(nodes); err != nil {
			return err
		}
	} else {
		now := time.Now()
		io.WriteString(a.stdout, a.nodesTable(nodes, func(t time.Time) string { return ago(t, now) }))
	}
	for _, n := range nodes.Nodes {
		if n.Missing() {
			return &exitError{code: exitUnhealthy}
		}
	}
	return nil
}

// statusStyles are the colours of the words for a node's state.
var statusStyles = map[string]style{
	membership.StatusAlive.String():   good,
	membership.StatusLeaving.String(): doubt,
	membership.StatusLeft.String():    doubt,
	membership.StatusFailed.String():  bad,
	httpapi.StatusAbsent:              bad,
}

// nodesTable draws the nodes; since words when a node became what it is.
func (a *app) nodesTable(nodes httpapi.Nodes, since func(time.Time) string) string {
	hasFile := false
	for _, n := range nodes.Nodes {
		hasFile = hasFile || n.InPeersFile
	}
	t := newTable("PID", "NAME", "STATUS", "ADDRESS", "RTT", "SINCE", "VERSION", "NOTE")
	for _, n := range nodes.Nodes {
		rtt, pid := "-", "-"
		if n.RTT > 0 {
			rtt = span(time.Duration(n.RTT))
		}
		if n.PID != 0 {
			pid = fmt.Sprint(n.PID)
		}
		t.add(pid, n.Name, cell{n.Status, statusStyles[n.Status]}, orDash(n.Address), rtt,
			since(n.Since), orDash(n.Version), cell{nodeNote(n, hasFile), faint})
	}
	return t.render(a.paint) + a.fileNote(nodes)
}

// fileNote is the line below the nodes that warns of a peers file with mistakes.
func (a *app) fileNote(nodes httpapi.Nodes) string {
	if nodes.PeersError == "" {
		return ""
	}
	return "\n" + a.paint(fileMistakes, doubt) + "\n"
}

const fileMistakes = "the peers file has mistakes, the last good list stays: kith status"

// nodeNote tells what is odd about n.
func nodeNote(n httpapi.NodeInfo, hasFile bool) string {
	var notes []string
	if n.Self {
		notes = append(notes, "this agent")
	}
	if hasFile && !n.InPeersFile {
		notes = append(notes, "not in the peers file")
	}
	if n.FilePID != 0 {
		notes = append(notes, fmt.Sprintf("pid %d in the peers file", n.FilePID))
	}
	if n.FileAddress != "" {
		notes = append(notes, n.FileAddress+" in the peers file")
	}
	if n.Unreachable {
		notes = append(notes, strings.TrimSuffix("unreachable from here: "+n.Reason, ": "))
	}
	return strings.Join(notes, "; ")
}

// clearScreen moves to the corner of a terminal and wipes what is below.
const clearScreen = "\x1b[H\x1b[J"

// clock returns the time of day, which a table that stays can show; how long ago
// something was changes while it does.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.TimeOnly)
}

// watchNodes shows every change until ctx is done.
func (a *app) watchNodes(ctx context.Context, c *httpapi.Client, asJSON bool) error {
	redraw := a.terminal && !asJSON
	var lines changeLines
	for event, err := range c.WatchNodes(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case asJSON:
			err = a.printJSONLine(event)
		case redraw:
			_, err = fmt.Fprintf(a.stdout, "%s%s  %s  Ctrl-C to stop\n\n%s", clearScreen,
				a.paint("kith nodes", strong), c.URL(), a.nodesTable(event.Nodes, clock)+recent(event))
		default:
			_, err = io.WriteString(a.stdout, clean(lines.next(event, time.Now())))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recent returns the changes of event for the foot of a redrawn table.
func recent(event httpapi.NodesEvent) string {
	if len(event.Changes) == 0 {
		return ""
	}
	var out strings.Builder
	out.WriteByte('\n')
	now := time.Now()
	for _, c := range event.Changes {
		out.WriteString(clean(changeLine(c, now)) + "\n")
	}
	return out.String()
}

// changeLines words a stream of events, one line for each change.
type changeLines struct {
	begun bool
	fault string // the PeersError that was told
}

// next returns the lines for event; for the first one, a line for each node.
func (l *changeLines) next(event httpapi.NodesEvent, now time.Time) string {
	var out strings.Builder
	if event.Skipped > 0 {
		fmt.Fprintf(&out, "%s  (%d changes were missed)\n", clock(now), event.Skipped)
	}
	for _, c := range event.Changes {
		out.WriteString(changeLine(c, now) + "\n")
	}
	if !l.begun {
		for _, n := range event.Nodes.Nodes {
			out.WriteString(changeLine(httpapi.NodeChange{Kind: n.Status, Name: n.Name, PID: n.PID, Address: n.Address}, now) + "\n")
		}
	}
	switch fault := event.PeersError; {
	case fault != "" && fault != l.fault:
		fmt.Fprintf(&out, "%s  %s\n", clock(now), fileMistakes)
	case fault == "" && l.fault != "":
		fmt.Fprintf(&out, "%s  the peers file is in force again\n", clock(now))
	}
	l.begun, l.fault = true, event.PeersError
	return out.String()
}

// changeLine tells one change: when, who, what.
func changeLine(c httpapi.NodeChange, now time.Time) string {
	at := c.Time
	if at.IsZero() { // the agent is an older one
		at = now
	}
	line := fmt.Sprintf("%s  %s %s", clock(at), c.Name, changeWords(c))
	if c.Address != "" {
		line += "  " + c.Address
	}
	if c.Reason != "" {
		line += "  " + c.Reason
	}
	return line
}

func changeWords(c httpapi.NodeChange) string {
	switch c.Kind {
	case httpapi.ListAdded:
		return "added to the peers file"
	case httpapi.ListRemoved:
		return "removed from the peers file"
	case httpapi.ListChanged:
		return "changed in the peers file: " + strings.Join(c.Fields, ", ")
	}
	return c.Kind
}
