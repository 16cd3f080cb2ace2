package history_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/history"
)

func TestRoundTrip(t *testing.T) {
	ops := []history.Op{
		{Client: 1, Kind: history.Write, Key: "a", Arg: "v1", Invoke: 1, Return: 5, Type: history.OK, Endpoint: "s1"},
		{Client: 2, Kind: history.CAS, Key: "a", Expect: "v1", Arg: "v2", Result: "true", Invoke: 2, Return: 9,
			Type: history.Info, Err: "timed out"},
		{Client: 3, Kind: history.Stream, Key: "s", List: []string{"x", "y"}, Invoke: 3, Return: 3, Type: history.OK},
		{Client: 4, Workload: "bank", Tenant: "acme", Kind: history.Txn, At: 41, Version: 44, Invoke: 4, Return: 8,
			Type: history.OK, Txn: []history.Mop{
				{Part: history.PartRead, Key: "a", Result: "5", List: []string{"5"}, Version: 40},
				{Part: history.PartIncr, Key: "b", Value: "-1", Result: "4", Version: 39},
			}},
		{Client: 4, Kind: history.Incr, Key: "n", Arg: "3", Result: "9", Base: 45, Version: 46, Invoke: 9, Return: 10,
			Type: history.OK},
	}
	var buf bytes.Buffer
	w := history.NewWriter(&buf)
	for i := range ops {
		if err := w.Write(&ops[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(buf.String(), "\n"); n != len(ops) {
		t.Fatalf("%d lines for %d operations", n, len(ops))
	}
	got, err := history.ReadAll(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, ops) {
		t.Fatalf("read %+v, wrote %+v", got, ops)
	}
}

func TestReadAllRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"unknown field":      `{"client":1,"op":"read","key":"a","type":"ok","invoke_ns":1,"return_ns":2,"color":"red"}`,
		"unknown op":         `{"client":1,"op":"dance","key":"a","type":"ok","invoke_ns":1,"return_ns":2}`,
		"unknown part":       `{"client":1,"op":"txn","key":"","txn":[{"f":"x","key":"a"}],"type":"ok","invoke_ns":1,"return_ns":2}`,
		"unknown type":       `{"client":1,"op":"read","key":"a","type":"maybe","invoke_ns":1,"return_ns":2}`,
		"return before call": `{"client":1,"op":"read","key":"a","type":"ok","invoke_ns":3,"return_ns":2}`,
		"cut line":           `{"client":1,"op":"read","key":"a","ty`,
	} {
		if _, err := history.ReadAll(strings.NewReader(line)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestString(t *testing.T) {
	for want, o := range map[string]history.Op{
		`client 1 of tenant acme wrote "v1" to a, from 1ms to 2.5ms: acknowledged, version 7`: {Client: 1, Tenant: "acme",
			Kind: history.Write, Key: "a", Arg: "v1", Invoke: 1e6, Return: 25e5, Type: history.OK, Version: 7},
		`client 2 read a, from 1s to 2s: refused (no leader)`: {Client: 2, Kind: history.Read, Key: "a", Invoke: 1e9,
			Return: 2e9, Type: history.Fail, Err: "no leader"},
		`client 2 read a, from 1s to 2s: saw nothing`: {Client: 2, Kind: history.Read, Key: "a", Invoke: 1e9,
			Return: 2e9, Type: history.OK},
		`client 3 added x to s, from 0s to 1ns: nobody knows whether it took effect`: {Client: 3, Kind: history.Add,
			Key: "s", Arg: "x", Return: 1, Type: history.Info},
		`client 3 read s, from 0s to 1ns: saw [1 2 3 4 5 6 ... 8 9 10 11 12 13] of 13, read at timestamp 5`: {Client: 3,
			Kind: history.Set, Key: "s", List: strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13"), Return: 1, At: 5,
			Type: history.OK},
		`client 4 did at one moment {a is "5" of version 2; b += -1 = 4; c := "x"; d appends y}, from 0s to 1ns: acknowledged`: {
			Client: 4, Kind: history.Txn, Return: 1, Type: history.OK, Txn: []history.Mop{
				{Part: history.PartRead, Key: "a", Result: "5", Version: 2},
				{Part: history.PartIncr, Key: "b", Value: "-1", Result: "4"},
				{Part: history.PartWrite, Key: "c", Value: "x"}, {Part: history.PartAppend, Key: "d", Value: "y"},
			}},
	} {
		if got := o.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestFaultsRoundTrip(t *testing.T) {
	faults := []history.Fault{
		{Name: "kill", Target: "node 2", Nodes: []uint64{2}, Start: 5, End: 9, Bit: true, Evidence: "the process ended"},
		{Name: "wipe", Target: "node 3", Start: 11},
	}
	var buf bytes.Buffer
	if err := history.WriteFaults(&buf, faults); err != nil {
		t.Fatal(err)
	}
	got, err := history.ReadFaults(&buf)
	if err != nil || !reflect.DeepEqual(got, faults) {
		t.Fatalf("read %+v, %v", got, err)
	}
	for name, line := range map[string]string{
		"unknown field":    `{"fault":"kill","target":"all","start_ns":1,"end_ns":2,"bit":true,"color":"red"}`,
		"end before start": `{"fault":"kill","target":"all","start_ns":3,"end_ns":2,"bit":true}`,
		"no name":          `{"target":"all","start_ns":3,"end_ns":4,"bit":true}`,
		"cut line":         `{"fault":"kill","tar`,
	} {
		if _, err := history.ReadFaults(strings.NewReader(line)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
