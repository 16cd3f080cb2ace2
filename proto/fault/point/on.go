//go:build chaos

package point

import (
	"os"
	"sync"
)

// trap is what waits at a point.
type trap struct {
	name   Name
	hits   int // that are still let through, and the one that is not
	active func() bool
}

var traps struct {
	sync.Mutex
	set *trap
}

// KillAt has the n-th hit of a place (from 1 on) end this process as SIGKILL does. active, when not nil, is asked
// first: a hit for which it says false does not count. A later call takes the place of an earlier one.
func KillAt(name Name, n int, active func() bool) {
	traps.Lock()
	defer traps.Unlock()
	traps.set = &trap{name: name, hits: n, active: active}
}

// Hit is where KillAt can end the process.
func Hit(name Name) {
	traps.Lock()
	defer traps.Unlock()
	t := traps.set
	if t == nil || t.name != name || t.active != nil && !t.active() {
		return
	}
	if t.hits--; t.hits > 0 {
		return
	}
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill() // there is nobody left to tell
	}
	select {} // nothing after this point happens
}
