package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kith-go/kith/httpapi"
)

// jsonFlag adds --json.
func jsonFlag(f *pflag.FlagSet, asJSON *bool) {
	f.BoolVar(asJSON, "json", false, "print JSON, for programs")
}

// agentFlags say which agent a command asks.
type agentFlags struct {
	api, tokenFile string
}

func (af *agentFlags) add(f *pflag.FlagSet) {
	f.StringVar(&af.api, "api", "", "the agent to ask, `host:port` or a URL, or several with commas (default $KITH_API, else "+httpapi.DefaultAddr+")")
	f.StringVar(&af.tokenFile, "token-file", "", "`file` with the token for it (default $KITH_TOKEN_FILE)")
}

// agentOf returns the address of the agent that the flags name, else the environment,
// else the default, where that came from, and the token for it.
func (a *app) agentOf(af agentFlags) (api, from, token string, err error) {
	api, from = af.api, "--api"
	if api == "" {
		api, from = a.getenv("KITH_API"), "$KITH_API"
	}
	if api == "" {
		api = httpapi.DefaultAddr
	}
	if af.tokenFile == "" {
		af.tokenFile = a.getenv("KITH_TOKEN_FILE")
	}
	if af.tokenFile != "" {
		token, err = readToken(af.tokenFile)
	}
	return api, from, token, err
}

// client returns a client for the agent that the flags name.
func (a *app) client(af agentFlags) (*httpapi.Client, error) {
	api, from, token, err := a.agentOf(af)
	if err != nil {
		return nil, err
	}
	return newClient(api, from, token)
}

// newClient returns a client for the agent at api, which came from there.
func newClient(api, from, token string) (*httpapi.Client, error) {
	c, err := httpapi.NewClient(api, token)
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", from, err))
	}
	return c, nil
}

// readToken reads a token file.
func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty; fill it with a long random word, such as: kith keygen --force --output %s", path, path)
	}
	return token, nil
}
