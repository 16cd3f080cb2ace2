package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newPut(a *app, enc *codec) *cobra.Command {
	var o client.PutOptions
	c := &cobra.Command{
		Use: "put KEY VALUE|-", Short: "Set a key; - reads the value from standard input",
		Args: argsBetween(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := enc.decode("key", args[0])
			if err != nil {
				return err
			}
			value, err := enc.value(a, args[1], valueMax)
			if err != nil {
				return err
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			w, err := cl.Put(c.Context(), key, value, o)
			if err != nil {
				return keyError(key, err)
			}
			return a.printWritten(w)
		},
	}
	c.Flags().DurationVar(&o.TTL, "ttl", time.Duration(0), "how long the value is kept; 0: for ever")
	c.Flags().BoolVar(&o.IfAbsent, "if-absent", false, "only when the key does not exist")
	c.Flags().Uint64Var(&o.IfVersion, "if-version", 0, "only when the key is at this version")
	return c
}

func (a *app) printWritten(w client.Written) error {
	if a.json {
		return a.printJSON(object{"version": w.Version, "duplicate": w.Duplicate})
	}
	return a.printf("ok, version %d\n", w.Version)
}

// keyError names the key in an error.
func keyError(key []byte, err error) error {
	return fmt.Errorf("key %s: %w", quote(key), err)
}
