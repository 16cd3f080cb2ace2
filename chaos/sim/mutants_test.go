//go:build chaos

package sim

import (
	"flag"
	"testing"
	"time"

	"github.com/vipkv/vipkv/proto/fault"
)

var (
	mutant      = flag.String("mutant", "", "run all tests with this mutant on")
	mutantSeeds = flag.Int("mutant-seeds", 300, "how many seeds a mutant may survive")
)

func TestMain(m *testing.M) {
	flag.Parse()
	fault.Enable(fault.Name(*mutant))
	m.Run()
}

// TestMutants proves that the simulator bites: each seeded bug must break a promise that it checks, soon.
func TestMutants(t *testing.T) {
	for _, m := range fault.Registry() {
		t.Run(string(m.Name), func(t *testing.T) {
			fault.Enable(m.Name)
			defer fault.Enable(fault.Name(*mutant))
			begin := time.Now()
			for n := range *mutantSeeds {
				seed := *from + uint64(n)
				if r := run(t, seed, nil); r.Err != nil {
					t.Logf("killed by seed %d, the %d., in %v: %v", seed, n+1, time.Since(begin), r.Err)
					return
				}
			}
			t.Errorf("%s (%s) survived %d seeds in %v", m.Name, m.Breaks, *mutantSeeds, time.Since(begin))
		})
	}
}
