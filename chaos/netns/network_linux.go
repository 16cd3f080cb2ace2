package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vipkv/vipkv/chaos/sandbox"
)

// packetMax is the largest packet that a device hands over.
const packetMax = 1 << 16

// Network is a star of hosts. Its rules may be changed from any goroutine; hosts are added by one.
type Network struct {
	router *router
	stop   chan struct{}
	wait   sync.WaitGroup
	hosts  []Host
	spaces map[Host]*namespace
	tuns   []*os.File
}

// New makes a network whose only host is Clients, in the calling program's network namespace, which is
// its sandbox's. seed decides what is lost.
func New(seed uint64) (*Network, error) {
	if err := sandbox.Missing(); err != nil {
		return nil, err
	}
	n := &Network{router: newRouter(seed), stop: make(chan struct{}), spaces: map[Host]*namespace{}}
	tun, err := openTun(n.Addr(Clients))
	if err != nil {
		return nil, err
	}
	n.attach(Clients, tun)
	n.wait.Go(func() { n.router.run(n.stop) })
	return n, nil
}

// Addr is a host's address.
func (n *Network) Addr(h Host) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(h)}) }

// Hosts are all hosts, Clients first.
func (n *Network) Hosts() []Host { return slices.Clone(n.hosts) }

// AddHost makes a host in a namespace of its own. Numbers count from 1 and lie below Clients.
func (n *Network) AddHost(h Host) error {
	if h < 1 || h >= Clients || slices.Contains(n.hosts, h) {
		return fmt.Errorf("host %d can not be added", h)
	}
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	var tun *os.File
	err = ns.do(func() (err error) {
		tun, err = openTun(n.Addr(h))
		return err
	})
	if err != nil {
		return errors.Join(err, ns.file.Close())
	}
	n.spaces[h] = ns
	n.attach(h, tun)
	return nil
}

// attach gives a host a port of the router.
func (n *Network) attach(h Host, tun *os.File) {
	n.hosts, n.tuns = append(n.hosts, h), append(n.tuns, tun)
	n.router.addPort(h, tun)
	n.wait.Go(func() {
		packet := make([]byte, packetMax)
		for {
			size, err := tun.Read(packet)
			if err != nil {
				return // it was closed
			}
			n.router.route(h, packet[:size])
		}
	})
}

// Enter moves the calling thread, which is one of sandbox.InThread, to a host; what it starts is there.
func (n *Network) Enter(h Host) error {
	ns := n.spaces[h]
	if ns == nil {
		return fmt.Errorf("host %d has no namespace of its own", h)
	}
	return ns.enter()
}

// Do calls f in a thread on a host and waits for it.
func (n *Network) Do(h Host, f func() error) error {
	if h == Clients {
		return f()
	}
	return n.spaces[h].do(f)
}

// Close ends the router and gives the namespaces up; they go with the last process in them.
func (n *Network) Close() error {
	close(n.stop)
	var errs []error
	for _, t := range n.tuns {
		errs = append(errs, t.Close())
	}
	n.wait.Wait()
	for _, ns := range n.spaces {
		errs = append(errs, ns.file.Close())
	}
	return errors.Join(errs...)
}
