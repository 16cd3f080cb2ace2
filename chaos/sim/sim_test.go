package sim

import (
	"flag"
	"fmt"
	"testing"
	"testing/cryptotest"
	"time"
)

var (
	seeds   = flag.Int("seeds", 20, "how many seeds TestSeeds runs")
	from    = flag.Uint64("from", 1, "the first seed of TestSeeds")
	oneSeed = flag.Uint64("seed", 0, "run this seed only, and say what happens")
)

// run carries a seed out. raft draws its election timeouts from crypto/rand, so that is seeded too.
func run(t *testing.T, seed uint64, log func(string, ...any)) Result {
	cryptotest.SetGlobalRandom(t, seed)
	return Run(DrawOptions(seed), log)
}

func replay(seed uint64) string {
	return fmt.Sprintf("go test ./chaos/sim -run TestSeeds -count=1 -v -seed=%d", seed)
}

func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		r := run(t, *oneSeed, t.Logf)
		t.Logf("%v\n%v\ntrace %016x, %d events", &r.Options, &r.count, r.Trace, r.Events)
		if r.Err != nil {
			t.Fatalf("seed %d: %v", *oneSeed, r.Err)
		}
		return
	}
	var sum counters
	var simulated, events int64
	begin := time.Now()
	for seed := *from; seed < *from+uint64(*seeds); seed++ {
		r := run(t, seed, nil)
		sum.add(&r.count)
		simulated, events = simulated+r.Time, events+int64(r.Events)
		if r.Err != nil {
			t.Errorf("seed %d: %v\n%v\n%v\nreplay: %s", seed, r.Err, &r.Options, &r.count, replay(seed))
		}
		if seed%20 == 0 {
			if again := run(t, seed, nil); again.Trace != r.Trace {
				t.Errorf("seed %d: two runs differ: traces %016x and %016x", seed, r.Trace, again.Trace)
			}
		}
	}
	t.Logf("%d seeds, %d simulated seconds, %d events in %v\n%v", *seeds, simulated/sec, events, time.Since(begin), &sum)
}
