package machine

import (
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
)

// marked is a workload whose values carry a canary, so that they can be looked for where they must not be
// in clear.
type marked struct {
	workload.Workload
	canary string
}

func (m *marked) mark(ops []history.Op) []history.Op {
	for i := range ops {
		ops[i].Tenant = m.canary
	}
	return ops
}

// Setup implements workload.Workload.
func (m *marked) Setup() []history.Op { return m.mark(m.Workload.Setup()) }

// Draw implements workload.Workload.
func (m *marked) Draw(r *rand.Rand, place int) history.Op {
	op := m.Workload.Draw(r, place)
	op.Tenant = m.canary
	return op
}

// Final implements workload.Workload.
func (m *marked) Final() []history.Op { return m.mark(m.Workload.Final()) }
