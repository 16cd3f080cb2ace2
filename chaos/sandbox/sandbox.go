package sandbox

import (
	"errors"
	"os"
)

const (
	// insideEnv holds "yes" in the sandbox, or why there is none.
	insideEnv = "VKCHAOS_SANDBOX"
	inside    = "yes"
	// requireEnv is set where nothing may be skipped.
	requireEnv = "CHAOS_REQUIRE"
)

// Inside tells whether this program runs in a sandbox.
func Inside() bool { return os.Getenv(insideEnv) == inside }

// Missing is why there is no sandbox; nil when there is.
func Missing() error {
	switch why := os.Getenv(insideEnv); why {
	case inside:
		return nil
	case "":
		return errors.New("the program does not start through sandbox.Main")
	default:
		return errors.New(why)
	}
}

// Required tells whether a test fails when the machine can not do what it needs: CHAOS_REQUIRE=1.
func Required() bool {
	v := os.Getenv(requireEnv)
	return v != "" && v != "0"
}
