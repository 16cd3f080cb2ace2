package judge_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
)

// FuzzAll: whatever a history says, it is judged; judging changes nothing in it, and comes to the same twice.
func FuzzAll(f *testing.F) {
	line := func(s string) []byte { return []byte(s + "\n") }
	f.Add(bytes.Join([][]byte{
		line(`{"client":1,"op":"write","key":"a","arg":"x","version":5,"type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":2,"op":"read","key":"a","result":"x","version":5,"type":"ok","invoke_ns":3,"return_ns":4}`),
		line(`{"client":2,"op":"cas","key":"a","expect":"x","arg":"y","base":5,"result":"true","version":7,"type":"info",` +
			`"invoke_ns":3,"return_ns":4}`),
	}, nil))
	f.Add(bytes.Join([][]byte{
		line(`{"client":1,"op":"append","key":"s","arg":"x","result":"1","type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"stream","key":"s","list":["x","y"],"type":"ok","invoke_ns":3,"return_ns":4}`),
		line(`{"client":1,"op":"add","key":"s","arg":"x","version":3,"type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"set","key":"s","list":["x","x"],"at":2,"type":"ok","invoke_ns":3,"return_ns":4}`),
	}, nil))
	f.Add(bytes.Join([][]byte{
		line(`{"client":1,"tenant":"t","op":"txn","key":"","txn":[{"f":"incr","key":"a","value":"-5","result":"5"},` +
			`{"f":"incr","key":"b","value":"5","result":"x"}],"at":3,"version":4,"type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"txn","key":"","txn":[{"f":"append","key":"a","value":"1"},{"f":"r","key":"a",` +
			`"list":["1"]}],"type":"info","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"txn","key":"","txn":[{"f":"r","key":"a"},{"f":"r","key":"b","version":9}],"at":3,"type":"ok",` +
			`"invoke_ns":1,"return_ns":2}`),
	}, nil))
	f.Add(bytes.Join([][]byte{
		line(`{"client":1,"op":"advance","key":"c","arg":"4","expect":"2","result":"4","type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"pull","key":"s","arg":"0","list":["1 x"],"result":"1","type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"inbox","key":"c","list":["a 1 2"],"at":9,"type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"touch","key":"p","arg":"v","ttl_ms":5,"version":3,"type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"incr","key":"n","arg":"4","result":"4","type":"ok","invoke_ns":1,"return_ns":2}`),
		line(`{"client":1,"op":"count","key":"n","result":"4","type":"ok","invoke_ns":3,"return_ns":4}`),
	}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := history.ReadAll(bytes.NewReader(b))
		if err != nil || len(ops) > 12 {
			return
		}
		before, err := history.ReadAll(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		dump := &check.Dump{Keys: []check.DumpKey{{Key: "a", Versions: []check.DumpVersion{{Version: 5, Value: "x"}}}}}
		for _, o := range []judge.Options{{RegisterLimit: time.Second}, {RegisterLimit: time.Second, Dump: dump}} {
			first := judge.All(ops, nil, o)
			if !reflect.DeepEqual(ops, before) {
				t.Fatal("judging changed the history")
			}
			if again := judge.All(ops, nil, o); !reflect.DeepEqual(first, again) {
				t.Fatalf("%+v, and then %+v", first, again)
			}
		}
	})
}
