package main

import (
	"github.com/spf13/cobra"
)

func newGet(a *app, enc *codec) *cobra.Command {
	var raw bool
	var at uint64
	c := &cobra.Command{
		Use: "get KEY", Short: "Print the value of a key", Args: argsBetween(1, 1),
		Long: "Prints the value and a newline. A value that is not printable text is shown as a quoted literal; --raw\n" +
			"prints the bytes as they are and nothing else.",
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
			item, err := cl.GetAt(c.Context(), key, at)
			if err != nil {
				return keyError(key, err)
			}
			switch {
			case a.json:
				return a.printJSON(object{"version": item.Version}.bytes("key", item.Key).
					bytes("value", item.Value).expires(item.Expires))
			case raw:
				_, err := a.out.Write(item.Value)
				return err
			}
			return a.printf("%s\n", text(item.Value))
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "print the bytes as they are")
	c.Flags().Uint64Var(&at, "at", 0, "read at this timestamp; 0: now")
	return c
}
