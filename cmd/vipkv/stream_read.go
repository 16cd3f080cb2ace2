package main

import (
	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newRead(a *app) *cobra.Command {
	var last, limit int
	var o client.ReadOptions
	c := &cobra.Command{
		Use: "read NAME", Short: "Print records", Args: argsBetween(1, 1),
		Long: "Prints records in the order of their numbers; --last N the newest N of them; --reverse newest first.",
		RunE: func(c *cobra.Command, args []string) error {
			f := c.Flags()
			if f.Changed("last") && (f.Changed("after") || f.Changed("before") || f.Changed("reverse")) {
				return usagef("", "--last does not go with --after, --before and --reverse")
			}
			if last < 0 || limit < 0 || (f.Changed("last") && last == 0) {
				return usagef("", "--last and --limit must be positive")
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			var records []client.Record
			if last > 0 {
				records, err = cl.Latest(c.Context(), args[0], last)
			} else {
				records, err = readRecords(c, cl, args[0], o, limit)
			}
			if err != nil {
				return streamError(args[0], err)
			}
			return a.printRecords(records)
		},
	}
	f := c.Flags()
	f.IntVar(&last, "last", 0, "the newest so many, oldest first")
	f.Uint64Var(&o.After, "after", 0, "records with a greater number")
	f.Uint64Var(&o.Before, "before", 0, "records with a smaller number; 0: no bound")
	f.BoolVar(&o.Reverse, "reverse", false, "newest first")
	f.IntVar(&limit, "limit", 100, "at most so many; 0: all")
	return c
}

func readRecords(c *cobra.Command, cl *client.Client, name string, o client.ReadOptions, limit int) (
	out []client.Record, err error,
) {
	o.Limit = min(limit, 1000)
	for r, err := range cl.Records(c.Context(), name, o) {
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if len(out) == limit {
			break
		}
	}
	return out, nil
}

func (a *app) printRecords(records []client.Record) error {
	if a.json {
		out := make([]object, len(records))
		for i, r := range records {
			out[i] = object{"seq": r.Seq, "client_id": r.ClientID, "version": r.Version}.bytes("body", r.Body)
		}
		return a.printJSON(object{"records": out})
	}
	rows := [][]string{{"SEQ", "CLIENT ID", "BODY"}}
	for _, r := range records {
		rows = append(rows, []string{u64(r.Seq), quote([]byte(r.ClientID)), quote(r.Body)})
	}
	return a.table(rows)
}
