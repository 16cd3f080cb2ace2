package node

import (
	"errors"
	"testing"

	"github.com/vipkv/vipkv/raftstore/engine"
)

// A handler that outlived its server connected to another node, and nobody closed that connection.
func TestNoConnectionIsMadeAfterTheEnd(t *testing.T) {
	e, err := engine.OpenMem(engine.NewMemDisk(), engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPeers(e, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.dial("127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	p.close()
	if _, err := p.dial("127.0.0.1:1"); !errors.Is(err, errPeersClosed) {
		t.Errorf("a connection after the end: %v", err)
	}
}
