package main

import (
	"github.com/spf13/cobra"
)

const valueMax = 1 << 20 // bytes of a value or a record

func newKV(a *app) *cobra.Command {
	var enc codec
	c := newGroup("kv", "Read and write keys",
		newGet(a, &enc), newPut(a, &enc), newDel(a, &enc), newScan(a, &enc), newCommit(a))
	c.PersistentFlags().BoolVar(&enc.hex, "hex", false, "keys and values on the command line are hexadecimal")
	return c
}
