//go:build chaos

package fault

import "sync/atomic"

// Built tells whether this build holds the mutants.
const Built = true

var enabled atomic.Value

// Enable turns one mutant on, or all off when name is empty.
func Enable(name Name) { enabled.Store(name) }

// On tells whether a mutant is on.
func On(name Name) bool {
	v, _ := enabled.Load().(Name)
	return v != "" && v == name
}
