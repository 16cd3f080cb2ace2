//go:build chaos

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vipkv/vipkv/kv/node"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/fault/point"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// injectFaults arms what the environment asks for. Each is a list of key=value, parted by semicolons; a fault with an
// arm happens only while that file exists.
//
//	VIPKV_FAULT_FS     operations of the store's file system fail
//	                   ops=write,sync,create,open,read,remove,rename   which; required
//	                   err=ENOSPC|EIO                                  with what; required
//	                   path=PART                                       on files whose path has this part
//	                   skip=N, count=N                                 let N pass first, fail N then (0: all)
//	                   arm=FILE
//	VIPKV_FAULT_POINT  the process dies as by SIGKILL
//	                   name=POINT                                      at which point (package fault); required
//	                   hit=N                                           at its N-th hit; default 1
//	                   arm=FILE
//	VIPKV_MUTANT       a rule of the product is broken: the name of a mutant (package fault)
func injectFaults(cfg *node.Config) error {
	if text := os.Getenv("VIPKV_FAULT_FS"); text != "" {
		rule, err := parseFaultRule(text)
		if err != nil {
			return usagef("", "VIPKV_FAULT_FS: %w", err)
		}
		cfg.FS = engine.InjectFS(engine.DefaultFS(), rule)
	}
	if text := os.Getenv("VIPKV_FAULT_POINT"); text != "" {
		if err := armPoint(text); err != nil {
			return usagef("", "VIPKV_FAULT_POINT: %w", err)
		}
	}
	if name := fault.Name(os.Getenv("VIPKV_MUTANT")); name != "" {
		known := func(m fault.Mutant) bool { return m.Name == name }
		if !slices.ContainsFunc(fault.Registry(), known) {
			return usagef("", "VIPKV_MUTANT: unknown mutant %q", name)
		}
		fault.Enable(name)
	}
	return nil
}

func parseFaultRule(text string) (rule engine.FaultRule, err error) {
	ops := map[string]engine.FaultOp{
		"write": engine.FaultWrite, "sync": engine.FaultSync, "create": engine.FaultCreate, "open": engine.FaultOpen,
		"read": engine.FaultRead, "remove": engine.FaultRemove, "rename": engine.FaultRename,
	}
	errs := map[string]error{"ENOSPC": syscall.ENOSPC, "EIO": syscall.EIO}
	err = eachFaultPair(text, func(key, value string) (err error) {
		switch key {
		case "ops":
			for name := range strings.SplitSeq(value, ",") {
				if ops[name] == 0 {
					return fmt.Errorf("unknown operation %q", name)
				}
				rule.Ops |= ops[name]
			}
		case "err":
			if rule.Err = errs[value]; rule.Err == nil {
				return fmt.Errorf("unknown error %q", value)
			}
		case "path":
			rule.Path = value
		case "skip":
			rule.Skip, err = strconv.Atoi(value)
		case "count":
			rule.Count, err = strconv.Atoi(value)
		case "arm":
			rule.Active = exists(value)
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return err
	})
	if err == nil && (rule.Ops == 0 || rule.Err == nil) {
		err = fmt.Errorf("ops and err are needed, have %q", text)
	}
	return rule, err
}

func armPoint(text string) error {
	var name point.Name
	var active func() bool
	hit := 1
	err := eachFaultPair(text, func(key, value string) (err error) {
		switch key {
		case "name":
			name = point.Name(value)
		case "hit":
			hit, err = strconv.Atoi(value)
		case "arm":
			active = exists(value)
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !slices.Contains(point.All(), name) {
		return fmt.Errorf("unknown point %q", name)
	}
	point.KillAt(name, hit, active)
	return nil
}

func eachFaultPair(text string, f func(key, value string) error) error {
	for pair := range strings.SplitSeq(text, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q is not key=value", pair)
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

func exists(file string) func() bool {
	return func() bool {
		_, err := os.Stat(file)
		return err == nil
	}
}
