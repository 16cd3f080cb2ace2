package workload_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/chaos/workload/workloadtest"
)

// All workloads at once on a correct store: each passes, and so does the history of all, written and read again, before
// judges that know nothing of workloads.
func TestAllTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		works, err := workload.NewAll(nil, workload.Options{Tenant: "main", Tenants: []string{"a", "b", "c"}})
		if err != nil {
			t.Fatal(err)
		}
		c := workloadtest.New(honest(), 1)
		stores := map[string]workload.Store{}
		for _, w := range works {
			for _, tenant := range workload.Tenants(w) {
				stores[tenant] = c.Tenant(tenant)
			}
		}
		var file bytes.Buffer
		out := history.NewWriter(&file)
		l, err := load.Start(t.Context(), load.Config{Stores: stores, Workloads: works, Rate: 500,
			Record: func(op *history.Op) {
				if err := out.Write(op); err != nil {
					t.Error(err)
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		l.Stop()
		c.Settle()
		if err := l.Final(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		ops, err := history.ReadAll(&file)
		if err != nil || len(ops) != len(l.Ops()) {
			t.Fatalf("%d operations of %d are in the file: %v", len(ops), len(l.Ops()), err)
		}
		for _, v := range append(l.Check(), judge.All(ops, nil, judge.Options{})...) {
			if v.Outcome != check.Pass {
				t.Errorf("%s: %v", v.Workload, v.Err())
			}
		}
	})
}
