//go:build linux

package machine_test

import (
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/machine"
)

// A build that acknowledges before its log is on disk passes when processes are killed, since the
// kernel keeps what they wrote. When the power fails, acknowledged writes are gone, and the checkers say
// so.
func TestPowerLossFindsWhatWasNotSynced(t *testing.T) {
	if *set.rounds == 0 {
		t.Skip("needs -rounds=1 or more, and a minute: make chaos-short")
	}
	c := newCluster(t, machine.Options{
		Binary: buildBinary(t, "-tags", "chaos"),
		Env:    func(int) []string { return []string{"VIPKV_MUTANT=skip-log-sync"} },
	})
	f, err := machine.FaultNamed("power-loss-all")
	must(t, err)
	o, err := c.Run(t.Context(), machine.Scenario{
		Fault: f, Seed: *set.seed, Warm: 3 * time.Second, Hold: time.Second, Rest: time.Second,
		Workloads: []string{"register", "set", "streams"}, Name: "mutant", Canary: tenant,
	})
	must(t, err)
	if !o.Fault.Bit {
		t.Fatalf("the fault did not bite: %s", o.Fault.Evidence)
	}
	found := 0
	for _, v := range o.Verdicts {
		if t.Logf("%s of %s: %s: %s", v.Checker, v.Workload, v.Outcome, v.Reason); v.Outcome == check.Fail {
			found++
		}
	}
	if found == 0 {
		t.Error("no checker noticed")
	}
}
