package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kith-go/kith/httpapi"
)

func (a *app) txnCommand() *cobra.Command {
	var af agentFlags
	cmd := &cobra.Command{
		Use:     "txn",
		GroupID: groupKeys,
		Short:   "change several keys at once, on conditions",
		Long: `Reads a transaction in JSON from standard input and prints its result. If all
conditions of "if" hold then "then" is done, else "else": all of it at once, with one
revision. When "else" was done, the code is 7.

Conditions: {"key": K, "revision": N} (0: not there), {"key": K, "exists": true},
{"key": K, "value": V}. Operations: {"put": K, "value": V, "ttl_ms": N}, {"delete": K},
{"delete_prefix": P}, {"get": K}. A value is a string, or {"base64": "…"}.`,
		Example: `  kith txn <<'END'
  {"if":   [{"key": "app/owner", "value": "alpha"}],
   "then": [{"put": "app/owner", "value": "bravo"}, {"delete": "app/notes"}],
   "else": [{"get": "app/owner"}]}
  END`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(af, func(c *httpapi.Client) error {
				text, err := a.input(cmd.Context(), "the transaction", httpapi.MaxTxnBody)
				if err != nil {
					return err
				}
				txn, err := httpapi.ParseTxn(text)
				if err != nil {
					return fmt.Errorf("%s: %w", stdinName, err)
				}
				result, err := c.Commit(cmd.Context(), txn)
				if err == nil {
					err = a.printJSON(result)
				}
				if err == nil && !result.Succeeded {
					err = &exitError{code: exitConflict}
				}
				return err
			})
		},
	}
	af.add(cmd.Flags())
	return exits(cmd, append(keyCodes, exitConflict, exitUnknown)...)
}
