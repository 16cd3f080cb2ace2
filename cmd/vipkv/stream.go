package main

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newStream(a *app) *cobra.Command {
	return newGroup("stream", "Append to and read streams",
		newAppend(a), newRead(a), newHead(a), newTruncate(a))
}

func newHead(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "head NAME", Short: "Show where a stream begins and ends", Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			h, err := cl.Head(c.Context(), args[0])
			if err != nil {
				return streamError(args[0], err)
			}
			if a.json {
				return a.printJSON(headJSON(h))
			}
			if !h.Exists {
				return a.printf("stream %s does not exist; its first record makes it\n", quote([]byte(args[0])))
			}
			return a.table([][]string{
				{"FIRST", "LAST", "EPOCH", "LAST VERSION"},
				{u64(h.FloorSeq), u64(h.LastSeq), hex.EncodeToString(h.Epoch), u64(h.LastVersion)},
			})
		},
	}
}

func headJSON(h client.Head) object {
	return object{
		"exists": h.Exists, "last_seq": h.LastSeq, "floor_seq": h.FloorSeq,
		"epoch": hex.EncodeToString(h.Epoch), "last_version": h.LastVersion,
	}
}

func newTruncate(a *app) *cobra.Command {
	var before uint64
	c := &cobra.Command{
		Use: "truncate NAME --before SEQ", Short: "Remove the records below a number", Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if before == 0 {
				return usagef("records with a smaller number go", "--before is missing")
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			floor, err := cl.Truncate(c.Context(), args[0], before)
			if err != nil {
				return streamError(args[0], err)
			}
			if a.json {
				return a.printJSON(object{"floor_seq": floor})
			}
			return a.printf("ok, the first record is %d\n", floor)
		},
	}
	c.Flags().Uint64Var(&before, "before", 0, "records with a smaller number go")
	return c
}

// streamError names the stream in an error.
func streamError(name string, err error) error {
	return fmt.Errorf("stream %s: %w", quote([]byte(name)), err)
}

func u64(n uint64) string { return strconv.FormatUint(n, 10) }
