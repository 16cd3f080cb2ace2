package bubble_test

import (
	"testing"
	"time"
)

// Three nodes become one cluster from nothing, serve, and end without leaving a goroutine.
func TestStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(20 * time.Second)
		w.finish(300)
	})
}
