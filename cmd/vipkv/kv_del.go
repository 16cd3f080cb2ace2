package main

import (
	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newDel(a *app, enc *codec) *cobra.Command {
	var o client.DeleteOptions
	c := &cobra.Command{
		Use: "del KEY", Short: "Remove a key", Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := enc.decode("key", args[0])
			if err != nil {
				return err
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			w, err := cl.Delete(c.Context(), key, o)
			if err != nil {
				return keyError(key, err)
			}
			return a.printWritten(w)
		},
	}
	c.Flags().Uint64Var(&o.IfVersion, "if-version", 0, "only when the key is at this version")
	return c
}
