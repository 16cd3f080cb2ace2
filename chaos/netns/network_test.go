//go:build linux

package netns_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/netns"
	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

const port = 9000

func network(t *testing.T) *netns.Network {
	t.Helper()
	sandboxtest.Need(t, "networks", netns.Probe)
	n, err := netns.New(1)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	for h := range netns.Host(3) {
		must(t, n.AddHost(h+1))
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo answers each packet of UDP on a host.
func echo(t *testing.T, n *netns.Network, h netns.Host) {
	t.Helper()
	var c *net.UDPConn
	must(t, n.Do(h, func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Addr(h), port)))
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(buf[:size], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
}

// ask sends one packet and returns how many answers come, and when the first.
func ask(t *testing.T, n *netns.Network, from, to netns.Host) (answers int, first time.Duration) {
	t.Helper()
	var c net.Conn
	must(t, n.Do(from, func() (err error) {
		c, err = net.Dial("udp4", netip.AddrPortFrom(n.Addr(to), port).String())
		return err
	}))
	defer c.Close()
	began := time.Now()
	_, err := c.Write([]byte("ping"))
	must(t, err)
	must(t, c.SetReadDeadline(began.Add(300*time.Millisecond)))
	buf := make([]byte, 100)
	for {
		_, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, first
		}
		must(t, err)
		if answers++; answers == 1 {
			first = time.Since(began)
		}
	}
}

func TestHostsReachEachOther(t *testing.T) {
	n := network(t)
	echo(t, n, 2)
	for _, from := range []netns.Host{1, 3, netns.Clients} {
		if got, _ := ask(t, n, from, 2); got != 1 {
			t.Errorf("from %d: %d answers", from, got)
		}
	}
	if c := n.Counters(1, 2); c.Passed != 1 {
		t.Errorf("counted %+v", c)
	}
}

func TestCutIsOneWayAndSilent(t *testing.T) {
	n := network(t)
	echo(t, n, 1)
	echo(t, n, 2)
	n.Cut(2, 1) // answers of 2 to 1, and questions of 2 to 1
	if got, _ := ask(t, n, 1, 2); got != 0 {
		t.Errorf("%d answers through a cut", got)
	}
	if c := n.Counters(1, 2); c.Passed != 1 || c.Cut != 0 {
		t.Errorf("the other way: counted %+v", c)
	}
	if c := n.Counters(2, 1); c.Cut != 1 || c.Passed != 0 {
		t.Errorf("counted %+v", c)
	}
	if got, _ := ask(t, n, 3, 2); got != 1 {
		t.Errorf("a third host got %d answers", got)
	}
	n.Mend()
	if got, _ := ask(t, n, 1, 2); got != 1 {
		t.Errorf("%d answers after mending", got)
	}
}

func TestDelayAndDuplicate(t *testing.T) {
	n := network(t)
	echo(t, n, 2)
	n.Set(1, 2, netns.Link{Delay: 80 * time.Millisecond})
	n.Set(2, 1, netns.Link{Duplicate: 1})
	got, first := ask(t, n, 1, 2)
	if got != 2 || first < 80*time.Millisecond {
		t.Errorf("%d answers, the first after %v", got, first)
	}
}

// A stream of TCP goes through unharmed although packets are lost, doubled and reordered.
func TestStreamSurvivesABadNetwork(t *testing.T) {
	n := network(t)
	n.SetAll(netns.Link{Loss: 0.02, Duplicate: 0.02, Jitter: 2 * time.Millisecond})
	var l net.Listener
	must(t, n.Do(1, func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(n.Addr(1), port).String())
		return err
	}))
	defer l.Close()
	const size = 4 << 20
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(make([]byte, size))
			err = errors.Join(err, c.Close())
		}
		sent <- err
	}()
	c, err := net.DialTimeout("tcp4", l.Addr().String(), 10*time.Second)
	must(t, err)
	defer c.Close()
	must(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	got, err := io.Copy(io.Discard, c)
	must(t, err)
	must(t, <-sent)
	count := n.Total(nil)
	if got != size || count.Lost == 0 || count.Duplicated == 0 {
		t.Fatalf("%d bytes came, counted %+v", got, count)
	}
}
