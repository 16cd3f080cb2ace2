package live

import (
	"context"
	"math/rand/v2"
	"time"
)

// Driver injects faults of the vocabulary (package nemesis) into nodes. Anything that can be said as a command is
// better done by the Exec driver; others are for what is not.
type Driver interface {
	Name() string
	// Can tells whether it has a way to inject a fault, as far as it can know without trying.
	Can(fault string) bool
	// Prepare works out what is to be done, and does nothing that changes the cluster.
	Prepare(ctx context.Context, a Aim) (Injection, error)
}

// Aim is one fault on one node.
type Aim struct {
	Fault string
	Node  Node
	Peers []Node // all other nodes
	Hold  time.Duration

	view *view      // the cluster now
	rand *rand.Rand // of this injection
}

// Injection is a fault that is ready to be injected.
type Injection struct {
	Text   string // what will be done, as a person would type it
	Target string // what it hits, when that is not the node of its Aim
	Undo   Undo
	Inject func(ctx context.Context) error
	// Bit looks whether the fault has the effect that it should have, and says by what it saw that. Nil: the harness
	// looks whether the node answers.
	Bit func(ctx context.Context) (bool, string)
}

// Builtin names the driver that injects a fault without commands of the user's: "processes", "api", or none.
func Builtin(fault string) string {
	for _, d := range []Driver{&Processes{}, &own{}} {
		if d.Can(fault) {
			return d.Name()
		}
	}
	return ""
}
