package history_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/vipkv/vipkv/chaos/history"
)

// FuzzReadAll: any bytes are a history or an error, and a history that was read is written and read as it is.
func FuzzReadAll(f *testing.F) {
	f.Add([]byte(`{"client":1,"op":"read","key":"a","result":"v","version":7,"type":"ok","invoke_ns":1,"return_ns":2}`))
	f.Add([]byte(`{"client":1,"op":"txn","key":"","txn":[{"f":"r","key":"a","list":["x"]}],"at":9,"type":"info",` +
		`"invoke_ns":1,"return_ns":2}` + "\n"))
	f.Add([]byte(`{"client":1,"op":"cas","key":"a","base":3,"type":"fail","invoke_ns":3,"return_ns":2}`))
	f.Add([]byte(`{"client":1,"op":"re`))
	f.Add([]byte("\x00\xff{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := history.ReadAll(bytes.NewReader(b))
		if err != nil {
			return
		}
		var buf bytes.Buffer
		w := history.NewWriter(&buf)
		for i := range ops {
			if err := w.Write(&ops[i]); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			_ = ops[i].String()
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		again, err := history.ReadAll(&buf)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !reflect.DeepEqual(clean(ops), clean(again)) {
			t.Fatalf("read %+v, then %+v", ops, again)
		}
	})
}

// clean makes empty lists nil: the form does not tell them apart.
func clean(ops []history.Op) []history.Op {
	for i := range ops {
		if len(ops[i].List) == 0 {
			ops[i].List = nil
		}
		if len(ops[i].Txn) == 0 {
			ops[i].Txn = nil
		}
		for k := range ops[i].Txn {
			if len(ops[i].Txn[k].List) == 0 {
				ops[i].Txn[k].List = nil
			}
		}
	}
	return ops
}
