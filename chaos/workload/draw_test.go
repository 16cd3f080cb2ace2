package workload_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/workloadtest"
)

// oneAfterTheOther carries out what is drawn, on a store that does not tell everything, and returns the history.
func oneAfterTheOther(t *testing.T, name string, seed uint64) (ops []history.Op) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, err := workload.New(name, workload.Options{Prefix: "p/", KeyOps: 20})
		if err != nil {
			t.Fatal(err)
		}
		c := workloadtest.New(workloadtest.Faults{LostAnswer: 0.1, Refused: 0.1}, seed)
		do := func(op history.Op, client int) {
			op.Client = client
			workload.Exec(t.Context(), c.Tenant(op.Tenant), &op)
			if err := op.Validate(); err != nil {
				t.Error(err)
			}
			w.Ended(&op)
			ops = append(ops, op)
		}
		for _, op := range w.Setup() {
			do(op, 0)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range 600 {
			do(w.Draw(r, i%w.Clients()), i)
		}
		for _, op := range w.Final() {
			do(op, 0)
		}
	})
	return ops
}

func TestDrawIsDeterministic(t *testing.T) {
	for _, name := range workload.Names() {
		t.Run(name, func(t *testing.T) {
			text := func(seed uint64) string {
				b, err := json.Marshal(oneAfterTheOther(t, name, seed))
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			first, again := text(1), text(1)
			if first != again {
				t.Error("two runs of one seed differ")
			}
			if first == text(2) {
				t.Error("two seeds do the same")
			}
		})
	}
}

// Keys begin with the prefix and values are unique, so that two workloads do not meet and a read names its write.
func TestNames(t *testing.T) {
	for _, name := range workload.Names() {
		t.Run(name, func(t *testing.T) {
			values := map[string]bool{}
			for _, op := range oneAfterTheOther(t, name, 1) {
				keys := []string{op.Key}
				for _, m := range op.Txn {
					keys = append(keys, m.Key)
				}
				for _, k := range keys {
					if k != "" && !strings.HasPrefix(k, "p/") {
						t.Errorf("%s of %q, outside of the prefix", op.Kind, k)
					}
				}
				switch op.Kind {
				case history.Write, history.CAS, history.Add, history.Touch:
					if values[op.Arg] || op.Arg == "" {
						t.Errorf("the value %q is written twice", op.Arg)
					}
					values[op.Arg] = true
				}
				if op.Workload != name {
					t.Errorf("an operation of %q", op.Workload)
				}
			}
		})
	}
}

func TestNew(t *testing.T) {
	if _, err := workload.New("nothing", workload.Options{}); err == nil {
		t.Error("a workload that does not exist was made")
	}
	if _, err := workload.New("set", workload.Options{Prefix: "a b"}); err == nil {
		t.Error("a prefix with a space was taken: lists part their elements by spaces")
	}
	for _, clients := range []int{1, 2, 5, 7, 20} {
		for _, name := range workload.Names() {
			w, err := workload.New(name, workload.Options{Clients: clients, Tenants: []string{"x", "y", "z"}})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			for i := range 20 * clients {
				op := w.Draw(r, i%clients)
				op.Type = history.OK
				if err := op.Validate(); err != nil {
					t.Error(fmt.Errorf("%s with %d clients: %w", name, clients, err))
				}
			}
		}
	}
}
