package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/encryption"
)

func newKeyfile(a *app) *cobra.Command {
	return newGroup("keyfile", "Make the file with the cluster's root keys", &cobra.Command{
		Use: "create FILE", Short: "Make a keyfile with a new root key", Args: argsBetween(1, 1),
		Long: "Makes a file (mode 0600) with one new root key. Every node of a cluster needs the same file, outside of\n" +
			"its data directory. Without it nothing that the cluster stores can be read: keep a copy in a safe place.",
		RunE: func(_ *cobra.Command, args []string) error {
			err := encryption.CreateKeyfile(args[0])
			if errors.Is(err, os.ErrExist) {
				return &cliError{exitConflict, "choose another name; a keyfile is never replaced", err}
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(object{"keyfile": args[0]})
			}
			return a.printf("made %s; keep a copy in a safe place\n", args[0])
		},
	})
}
