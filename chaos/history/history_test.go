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
		"unknown op":         `{"client":1,"op":"peek","key":"a","type":"ok","invoke_ns":1,"return_ns":2}`,
		"unknown type":       `{"client":1,"op":"read","key":"a","type":"maybe","invoke_ns":1,"return_ns":2}`,
		"return before call": `{"client":1,"op":"read","key":"a","type":"ok","invoke_ns":3,"return_ns":2}`,
		"cut line":           `{"client":1,"op":"read","key":"a","ty`,
	} {
		if _, err := history.ReadAll(strings.NewReader(line)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
