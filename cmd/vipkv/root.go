package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

// The addresses of a node that was told none.
const (
	defaultListen     = "127.0.0.1:7400"
	defaultListenPeer = "127.0.0.1:7401"
	defaultListenHTTP = "127.0.0.1:7402"
)

// app is what commands share: the outside world and the global flags.
type app struct {
	in  io.Reader
	out io.Writer
	err io.Writer
	env func(string) string

	endpoints  []string
	credential string
	json       bool
	timeout    time.Duration
	plaintext  bool
}

// run carries one command line out and returns the exit code.
func run(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	json := a.json || slices.Contains(args[:optionsEnd(args)], "--json")
	return report(a.err, err, json)
}

func optionsEnd(args []string) int {
	if i := slices.Index(args, "--"); i >= 0 {
		return i
	}
	return len(args)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "vipkv",
		Short: "A distributed, replicated, encrypted store for the tenants of a messaging cloud",
		Long: "vipkv is a distributed, replicated, encrypted store for the tenants of a messaging cloud.\n\n" +
			"To see it work:      vipkv demo --nodes 3 --data ./demo\n" +
			"To run a node:       vipkv keyfile create ./keyfile && vipkv start --data ./node1 --keyfile ./keyfile",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef(c.CommandPath()+" --help lists the flags", "%s", err)
	})
	f := root.PersistentFlags()
	f.StringSliceVarP(&a.endpoints, "endpoints", "e", nil,
		"addresses of nodes, host:port, one is enough (env VIPKV_ENDPOINTS; default "+defaultListen+")")
	f.StringVar(&a.credential, "credential", "",
		"API key, or @FILE that holds it (env VIPKV_CREDENTIAL)")
	f.BoolVar(&a.json, "json", false, "one JSON document instead of text; errors too")
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "for one call with its retries")
	f.BoolVar(&a.plaintext, "insecure-plaintext", false,
		"allow connections without TLS off loopback: everybody on the path can read them")
	root.AddCommand(
		newKV(a), newStream(a), newTenant(a), newNode(a), newRange(a), newStatus(a), newImport(a), newBench(a),
		newKeyfile(a), newVersion(a), newStart(a), newDemo(a), newChaos(a), newExitCodes(),
	)
	return root
}

// group is what runs when a command that only has subcommands is called: help, or an error for what it does not know.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	hint := c.CommandPath() + " --help lists the commands"
	if s := c.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "did you mean " + c.CommandPath() + " " + s[0] + "?"
	}
	return usagef(hint, "%s: unknown command %q", c.CommandPath(), args[0])
}

// newGroup makes a command that only has subcommands.
func newGroup(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: group}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(sub...)
	return c
}

// argsBetween wants between low and high arguments; high < 0: any number.
func argsBetween(low, high int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < low || (high >= 0 && len(args) > high) {
			return usagef("usage: "+c.UseLine(), "%s: wrong number of arguments: %d", c.CommandPath(), len(args))
		}
		return nil
	}
}

// open makes a client from the global flags and the environment.
func (a *app) open(ctx context.Context) (*client.Client, error) {
	credential, err := a.resolveCredential()
	if err != nil {
		return nil, err
	}
	if credential == "" {
		return nil, usagef("give --credential KEY, --credential @FILE or VIPKV_CREDENTIAL", "no credential")
	}
	return a.openWith(ctx, a.resolveEndpoints(), credential, a.timeout)
}

func (a *app) openWith(ctx context.Context, endpoints []string, credential string, timeout time.Duration) (
	*client.Client, error,
) {
	if timeout <= 0 {
		return nil, usagef("10s is the default", "--timeout must be positive")
	}
	return client.Open(ctx, client.Options{
		Endpoints: endpoints, Credential: credential, Insecure: a.plaintext, Timeout: timeout,
	})
}

func (a *app) resolveEndpoints() []string {
	if len(a.endpoints) > 0 {
		return a.endpoints
	}
	if e := a.env("VIPKV_ENDPOINTS"); e != "" {
		return strings.Split(e, ",")
	}
	return []string{defaultListen}
}

func (a *app) resolveCredential() (string, error) {
	value := a.credential
	if value == "" {
		value = a.env("VIPKV_CREDENTIAL")
	}
	file, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read credential: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
