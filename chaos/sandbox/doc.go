// Package sandbox runs a program, such as a test binary, in network and mount namespaces that it made
// for itself, so that what it does to networks and mounts is seen by nobody else and is gone when it
// ends, however it ends. Main starts the program again inside of them; the outer one waits, and removes
// what it left: temporary files and control groups.
//
// Without root there is no sandbox: the program runs as it is, Inside says no, and Required says
// whether that is a failure (CHAOS_REQUIRE=1, as in CI) or a reason to skip.
//
// How to test it: go test ./chaos/sandbox.
package sandbox
