package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
)

func (a *app) statusCommand() *cobra.Command {
	var af agentFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupNode,
		Short:   "say how a node fares, and what to do if it does not",
		Long: `Says in words how one running agent fares: itself, the others, and agreement, which
is what keys depend on. How far the others are behind is known to the leader only.
Ends with code 3 when something is wrong; each problem is listed with what to do
about it.`,
		Example: `  kith status
  kith status --api bravo:2033 --token-file token --json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(af)
			if err != nil {
				return err
			}
			defer c.Close()
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(status)
			} else {
				a.tellStatus(status, time.Now())
			}
			if err == nil && !status.Healthy {
				err = &exitError{code: exitUnhealthy}
			}
			return err
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	af.add(cmd.Flags())
	return exits(cmd, exitFailed, exitUnhealthy, exitUnreachable, exitInterrupted)
}

// tellStatus prints a status in words.
func (a *app) tellStatus(s httpapi.Status, now time.Time) {
	verdict := a.paint("healthy", good)
	if !s.Healthy {
		verdict = a.paint("not healthy", bad)
	}
	fmt.Fprintf(a.stdout, "%s of cluster %s is %s\n\n", clean(named(s.Name, s.PID)), clean(s.Cluster), verdict)

	t := newTable()
	t.add("version", fmt.Sprintf("%s, up for %s", s.Version, span(time.Duration(s.UptimeS*float64(time.Second)))))
	t.add("control", s.ControlAddr.String()+", "+either(s.Encrypted, "encrypted", "not encrypted"))
	t.add("state", either(s.Dir == "", "in memory", s.Dir))
	t.add("peers file", peersFileWords(s, now))
	if s.Sync != nil {
		t.add("fetched from", syncWords(*s.Sync, now))
	}
	t.add("members", memberWords(s))
	agreementRows(t, s.Agreement)
	a.print(t)
	a.tellMembers(s.Agreement)

	if len(s.Missing) > 0 {
		t := newTable("MISSING", "ADDRESS", "TRIED", "LAST ERROR")
		for _, m := range s.Missing {
			t.add(named(m.Name, m.PID), orDash(m.Address), tryWords(m, now), orDash(m.LastError))
		}
		a.say("")
		a.print(t)
	}
	if len(s.Problems) > 0 {
		a.say("\nproblems:")
		for _, p := range s.Problems {
			a.say("  - %s", strings.ReplaceAll(p, "\n", "\n    "))
		}
	}
}

func named(name string, pid uint32) string {
	if pid == 0 {
		return name
	}
	return fmt.Sprintf("%s (pid %d)", name, pid)
}

func either[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func peersFileWords(s httpapi.Status, now time.Time) string {
	if s.PeersPath == "" && s.PeersError == "" {
		return "none"
	}
	words := orDash(s.PeersPath)
	if !s.PeersLoaded.IsZero() {
		words += ", read " + ago(s.PeersLoaded, now) + " ago"
	}
	if s.PeersError != "" {
		words += "; its newest content is not in force, see below"
	}
	return words
}

func syncWords(s httpapi.Sync, now time.Time) string {
	words := s.URL + ", " + either(s.LastSuccess.IsZero(), "never yet", "last "+ago(s.LastSuccess, now)+" ago")
	if s.LastError != "" {
		words += "; last error: " + s.LastError
	}
	return words
}

// memberWords counts the members, leaving out what there is none of.
func memberWords(s httpapi.Status) string {
	words := fmt.Sprintf("%d alive", s.Alive)
	for _, c := range []struct {
		n    int
		word string
	}{{s.Leaving, "leaving"}, {s.Left, "left"}, {s.Failed, "failed"}, {s.Unreachable, "unreachable"}} {
		if c.n > 0 {
			words += fmt.Sprintf(", %d %s", c.n, c.word)
		}
	}
	return words
}

func tryWords(m httpapi.Missing, now time.Time) string {
	if m.Attempts == 0 {
		return "not yet"
	}
	words := fmt.Sprintf("%d×", m.Attempts)
	if !m.LastTry.IsZero() {
		words += ", last " + ago(m.LastTry, now) + " ago"
	}
	if wait := m.NextTry.Sub(now); !m.NextTry.IsZero() && wait > 0 {
		words += ", next in " + span(wait)
	}
	return words
}
