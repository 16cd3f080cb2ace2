package sandbox

import "runtime"

// InThread calls f in a thread of its own, which ends with f: what f did to its thread, such as to enter
// a namespace or a control group, is gone afterwards, but for the processes that it started.
func InThread(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		if onMainThread() {
			done <- InThread(f) // on another one, since this is held
			runtime.UnlockOSThread()
			return
		}
		done <- f() // never unlocked: the runtime ends the thread with the goroutine
	}()
	return <-done
}
