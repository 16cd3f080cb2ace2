package main

import (
	"bufio"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newScan(a *app, enc *codec) *cobra.Command {
	var prefix, start, end string
	var o client.ScanOptions
	c := &cobra.Command{
		Use: "scan", Short: "List keys and values in key order, all at one moment", Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := scanBounds(&o, enc, prefix, start, end); err != nil {
				return err
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if a.json {
				return a.scanJSON(c, cl, o)
			}
			rows := [][]string{{"KEY", "VERSION", "VALUE"}}
			for item, err := range cl.Scan(c.Context(), o) {
				if err != nil {
					return err
				}
				rows = append(rows, []string{quote(item.Key), strconv.FormatUint(item.Version, 10), quote(item.Value)})
				if len(rows) > 1000 { // bounded memory: a table a thousand rows
					if err := a.table(rows); err != nil {
						return err
					}
					rows = rows[:1]
				}
			}
			return a.table(rows)
		},
	}
	f := c.Flags()
	f.StringVar(&prefix, "prefix", "", "keys that begin with this")
	f.StringVar(&start, "start", "", "from this key on, inclusive")
	f.StringVar(&end, "end", "", "up to this key, exclusive")
	f.IntVar(&o.Limit, "limit", 100, "at most so many; 0: all")
	f.BoolVar(&o.Reverse, "reverse", false, "from the last key to the first")
	f.BoolVar(&o.KeysOnly, "keys-only", false, "without values")
	return c
}

func scanBounds(o *client.ScanOptions, enc *codec, prefix, start, end string) error {
	if prefix != "" && (start != "" || end != "") {
		return usagef("", "--prefix does not go with --start and --end")
	}
	if o.Limit < 0 {
		return usagef("0 means all", "--limit is negative")
	}
	var err error
	if prefix != "" {
		if o.Start, err = enc.decode("prefix", prefix); err != nil {
			return err
		}
		o.End = client.PrefixEnd(o.Start)
		return nil
	}
	if o.Start, err = enc.decode("start", start); err != nil {
		return err
	}
	o.End, err = enc.decode("end", end)
	return err
}

// scanJSON prints one document, item by item, so that memory stays bounded.
func (a *app) scanJSON(c *cobra.Command, cl *client.Client, o client.ScanOptions) error {
	w := bufio.NewWriter(a.out)
	w.WriteString(`{"items":[`) // a failed write is reported by Flush
	separator := ""
	for item, err := range cl.Scan(c.Context(), o) {
		if err != nil {
			return err
		}
		b, err := json.Marshal(object{"version": item.Version}.bytes("key", item.Key).
			bytes("value", item.Value).expires(item.Expires))
		if err != nil {
			return err
		}
		w.WriteString(separator)
		w.Write(b)
		separator = ",\n"
	}
	w.WriteString("]}\n")
	return w.Flush()
}
