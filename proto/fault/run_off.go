//go:build !chaos

package fault

// Reached does nothing in this build.
func Reached(Probe) {}

// Sometimes does nothing in this build. What holds is evaluated all the same: it must be cheap and
// free of effects.
func Sometimes(Probe, bool) {}

// Buggify tells whether to do the rare thing here: never, in this build.
func Buggify(Quirk) bool { return false }

// Draw names nothing in this build.
func Draw(uint64) []Quirk { return nil }

// Begin does nothing in this build.
func Begin(uint64, []Quirk) {}

// End knows nothing in this build.
func End() (map[Probe]int, map[Quirk]int) { return nil, nil }
