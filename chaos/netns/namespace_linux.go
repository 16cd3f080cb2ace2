package netns

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vipkv/vipkv/chaos/sandbox"
)

// namespace is a network namespace that lives as long as this file or a process holds it.
type namespace struct {
	file *os.File
}

// newNamespace makes one with loopback up.
func newNamespace() (*namespace, error) {
	ns := &namespace{}
	err := sandbox.InThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("open a network namespace: %w", err)
		}
		ns.file = f
		return up("lo")
	})
	return ns, err
}

// enter moves the calling thread, which is one of sandbox.InThread, into the namespace.
func (ns *namespace) enter() error {
	if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// do calls f in the namespace.
func (ns *namespace) do(f func() error) error {
	return sandbox.InThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		return f()
	})
}

// Tun devices.
const (
	mtu         = 9000 // fewer packets than on a common Ethernet, through a router in user space
	queueLength = 5000 // packets that wait for the router
	device      = "vkchaos0"
)

// openTun makes a device in the calling thread's namespace, with the address in a network of 24 bits,
// and returns its other end.
func openTun(addr netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := setUpTun(fd, addr); err != nil {
		_ = unix.Close(fd) // the first error says more
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

func setUpTun(fd int, addr netip.Addr) error {
	req, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make a tun device: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	ip, mask := addr.As4(), [4]byte{255, 255, 255, 0}
	steps := []struct {
		what string
		req  uint
		set  func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{"mtu", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{"queue length", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error {
			r.SetUint32(queueLength)
			return nil
		}},
	}
	for _, s := range steps {
		if err := configure(device, s.req, s.set); err != nil {
			return fmt.Errorf("set the %s of a tun device: %w", s.what, err)
		}
	}
	return up(device)
}

// up brings a device up.
func up(name string) error {
	err := configure(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func configure(name string, request uint, set func(*unix.Ifreq) error) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := set(r); err != nil {
		return err
	}
	return unix.IoctlIfreq(s, request, r)
}
