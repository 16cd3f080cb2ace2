//go:build chaos

package fault

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
)

// activeChance is the chance of a place to be active in a run. It, and Fires of most, are FoundationDB's.
const activeChance = 0.25

// run is what the probes and the places of this process have seen since Begin.
var run struct {
	sync.Mutex
	probes map[Probe]int
	active map[Quirk]*activeQuirk
	fired  map[Quirk]int
}

// activeQuirk draws from a stream of its own: what others draw does not shift it.
type activeQuirk struct {
	r     *rand.Rand
	fires float64
}

// Draw says which places are active in the run of a seed: each with the same chance.
func Draw(seed uint64) (active []Quirk) {
	for _, row := range Quirks() {
		if source(seed, "active/"+string(row.Name)).Float64() < activeChance {
			active = append(active, row.Name)
		}
	}
	return active
}

func source(seed uint64, concern string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(concern)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Begin starts a run: nothing was reached, and the places named are active.
func Begin(seed uint64, active []Quirk) {
	run.Lock()
	defer run.Unlock()
	run.probes, run.fired, run.active = map[Probe]int{}, map[Quirk]int{}, map[Quirk]*activeQuirk{}
	for _, row := range Quirks() {
		if slices.Contains(active, row.Name) {
			run.active[row.Name] = &activeQuirk{source(seed, "fires/"+string(row.Name)), row.Fires}
		}
	}
}

// End ends the run: no place is active. It returns how often each probe was reached and each place fired.
func End() (probes map[Probe]int, fired map[Quirk]int) {
	run.Lock()
	defer run.Unlock()
	probes, fired = run.probes, run.fired
	run.probes, run.fired, run.active = nil, nil, nil
	return probes, fired
}

// Reached says that the code came by a probe.
func Reached(p Probe) {
	run.Lock()
	if run.probes != nil {
		run.probes[p]++
	}
	run.Unlock()
}

// Sometimes is Reached, when something holds.
func Sometimes(p Probe, holds bool) {
	if holds {
		Reached(p)
	}
}

// Buggify tells whether to do the rare thing here, this time.
func Buggify(b Quirk) bool {
	run.Lock()
	defer run.Unlock()
	a := run.active[b]
	if a == nil || a.r.Float64() >= a.fires {
		return false
	}
	run.fired[b]++
	return true
}
