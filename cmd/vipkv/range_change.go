package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/txn/mvcc"
)

func newRangeTransfer(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "transfer RANGE STORE", Short: "Hand a range's leadership to its replica on a store",
		Long: "Hands a range's leadership to its replica on a store. The placement driver may hand it\n" +
			"on at any time.\n\n" +
			"  vipkv range list\n  vipkv range transfer 2 s3",
		Args: argsBetween(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef("the first column of vipkv range list", "%q is not a range", args[0])
			}
			store, err := strconv.ParseUint(strings.TrimPrefix(args[1], "s"), 10, 64)
			if err != nil {
				return usagef("1 or s1", "%q is not a store", args[1])
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if err := cl.Admin().TransferLeader(c.Context(), id, store); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(object{"range": id, "leader_store": store})
			}
			return a.printf("range %d is led by s%d\n", id, store)
		},
	}
}

func newRangeSplit(a *app) *cobra.Command {
	var tenant string
	var coder codec
	cmd := &cobra.Command{
		Use: "split KEY", Short: "Split the range that holds a key, there or soon after it",
		Long: "Splits the range that holds a key: there, or at the next key at which a range may be\n" +
			"split (never inside the tail of a stream). Splitting where a range begins already does\n" +
			"nothing.\n\n" +
			"  vipkv range split --tenant acme user/m      at a key of a tenant\n" +
			"  vipkv range split --hex 000000016b6d        at a key with its tenant's prefix",
		Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			key, err := coder.decode("key", args[0])
			if err != nil {
				return err
			}
			if tenant == "" && !coder.hex {
				return usagef("--tenant NAME says whose key it is; --hex takes a whole key",
					"whose key is %q?", args[0])
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if tenant != "" {
				t, err := cl.Admin().GetTenant(c.Context(), tenant)
				if err != nil {
					return err
				}
				key = mvcc.PlainKey(proto.TenantID(t.Id), key)
			}
			at, err := cl.Admin().SplitRange(c.Context(), key)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(object{}.bytes("key", at))
			}
			return a.printf("a range begins at %s\n", quote(at))
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose key it is")
	cmd.Flags().BoolVar(&coder.hex, "hex", false, "KEY is hexadecimal")
	return cmd
}
