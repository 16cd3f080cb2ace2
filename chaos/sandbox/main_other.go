//go:build !linux

package sandbox

import "os"

// Main runs the program without a sandbox: namespaces are Linux's.
func Main(run func() int) int {
	if err := os.Setenv(insideEnv, "this is not Linux"); err != nil {
		panic(err)
	}
	return run()
}
