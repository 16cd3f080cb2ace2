package node

import (
	"testing"
	"time"
)

// Rare heartbeats made every node unreachable between two of them: ranges were never replicated.
func TestRareHeartbeatsAreNotUnreachable(t *testing.T) {
	for _, c := range []struct{ heartbeat, lost, want time.Duration }{
		{500 * time.Millisecond, time.Minute, 5 * time.Second},
		{500 * time.Millisecond, 2 * time.Second, 2 * time.Second},
		{10 * time.Second, time.Minute, 30 * time.Second},
		{10 * time.Second, 20 * time.Second, 20 * time.Second},
	} {
		at := Tunables{HeartbeatInterval: c.heartbeat, LostAfter: c.lost}
		if got := at.unreachableAfter(5 * time.Second); got != c.want {
			t.Errorf("heartbeats each %v, lost after %v: %v, want %v", c.heartbeat, c.lost, got, c.want)
		}
	}
	cfg := Config{DataDir: "d", Keyfile: "k", Listen: "127.0.0.1:0", ListenPeer: "127.0.0.1:0",
		ListenHTTP: "127.0.0.1:0", Tunables: DefaultTunables()}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	cfg.HeartbeatInterval = 31 * time.Second
	if cfg.Validate() == nil {
		t.Error("a node that is lost before its second heartbeat")
	}
}
