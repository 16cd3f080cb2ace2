package main

import (
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

func newAppend(a *app) *cobra.Command {
	var clientIDs []string
	var expect int64
	c := &cobra.Command{
		Use:   "append NAME [BODY|-]...",
		Short: "Append records; without BODY one record is read from standard input",
		Long: "Appends the records in one step, all or none. With --client-id, which is then given once a record, a\n" +
			"record that is sent again within 10 minutes is not appended again.",
		Args: argsBetween(1, -1),
		RunE: func(c *cobra.Command, args []string) error {
			bodies := args[1:]
			if len(bodies) == 0 {
				bodies = []string{"-"}
			}
			if len(clientIDs) > 0 && len(clientIDs) != len(bodies) {
				return usagef("give it once a record", "%d --client-id for %d records", len(clientIDs), len(bodies))
			}
			records := make([]client.Record, len(bodies))
			for i, b := range bodies {
				body, err := codec{}.value(a, b, valueMax)
				if err != nil {
					return err
				}
				records[i].Body = body
				if len(clientIDs) > 0 {
					records[i].ClientID = clientIDs[i]
				}
			}
			var o client.AppendOptions
			if c.Flags().Changed("expect-last-seq") {
				if expect < 0 {
					return usagef("0 means that the stream does not exist", "--expect-last-seq is negative")
				}
				last := uint64(expect)
				o.ExpectLastSeq = &last
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			done, err := cl.Append(c.Context(), args[0], records, o)
			if err != nil {
				return streamError(args[0], err)
			}
			if a.json {
				return a.printJSON(object{
					"first_seq": done.FirstSeq, "last_seq": done.LastSeq, "duplicate": done.Duplicate,
					"epoch": hex.EncodeToString(done.Epoch), "version": done.Version,
				})
			}
			if done.Duplicate {
				return a.printf("there already: %d to %d\n", done.FirstSeq, done.LastSeq)
			}
			return a.printf("ok, %d to %d\n", done.FirstSeq, done.LastSeq)
		},
	}
	c.Flags().StringArrayVar(&clientIDs, "client-id", nil, "the record's idempotency id; once a record")
	c.Flags().Int64Var(&expect, "expect-last-seq", 0, "only when the stream's last record has this number")
	return c
}
