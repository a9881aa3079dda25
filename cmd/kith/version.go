package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith"
)

// build says what this program was made from.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Revision and Time are of the commit, "" when the build does not know;
	// Modified tells that the files differed from it.
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
}

func thisBuild() build {
	b := build{Version: kith.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the version of kith",
		Long:    "Prints the version of kith, of Go, and the commit it was built from, if known.",
		Example: "  kith version --json",
		Args:    exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(thisBuild())
			}
			a.sayVersion()
			return nil
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return exits(cmd)
}

func (a *app) sayVersion() {
	b := thisBuild()
	commit := ""
	if b.Revision != "" {
		commit = ", commit " + b.Revision[:min(12, len(b.Revision))]
	}
	if b.Modified {
		commit += " (modified)"
	}
	a.say("kith %s (%s, %s%s)", b.Version, b.Go, b.Platform, commit)
}
