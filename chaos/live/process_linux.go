package live

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ProcessID is one process for ever: an id that is given out again has another start.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
}

// errGone says that a process has ended.
var errGone = errors.New("the process has ended")

// identify returns the process that has an id now, and its state: R, S, D, T, Z.
func identify(pid int) (ProcessID, byte, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return ProcessID{}, 0, errGone
	}
	if err != nil {
		return ProcessID{}, 0, err
	}
	// The name, in brackets, may hold anything; the state is the first field after it, the start the twentieth.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return ProcessID{}, 0, fmt.Errorf("process %d: its status is not understood", pid)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return ProcessID{}, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return ProcessID{PID: pid, Start: start}, fields[0][0], nil
}

// state of this very process; errGone when it has ended.
func (p *ProcessID) state() (byte, error) {
	now, state, err := identify(p.PID)
	switch {
	case err != nil:
		return 0, err
	case now != *p || state == 'Z' || state == 'X':
		return 0, errGone
	}
	return state, nil
}

func (p *ProcessID) signal(s syscall.Signal) error {
	if _, err := p.state(); err != nil {
		return err
	}
	if err := syscall.Kill(p.PID, s); err != nil {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// resume lets the process go on; one that has ended needs no help.
func (p *ProcessID) resume() error {
	if err := p.signal(syscall.SIGCONT); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// listener finds the process on this host that listens at an address.
func listener(addr string) (ProcessID, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ProcessID{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ProcessID{}, fmt.Errorf("address %s: %w", addr, err)
	}
	ip, err := localIP(host)
	if err != nil {
		return ProcessID{}, err
	}
	inode, err := socketAt(ip, uint16(n))
	if err != nil {
		return ProcessID{}, fmt.Errorf("who listens at %s: %w", addr, err)
	}
	return owner("socket:[" + inode + "]")
}

// localIP is the address of a host name, which must be of this machine.
func localIP(host string) (netip.Addr, error) {
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ip, fmt.Errorf("%s is no IP address: the processes driver acts on this host only", host)
	}
	if ip.IsLoopback() {
		return ip, nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return ip, err
	}
	here := func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip.Unmap()
	}
	if !slices.ContainsFunc(own, here) {
		return ip, fmt.Errorf("%s is not an address of this host: use the ssh or exec driver", host)
	}
	return ip, nil
}

// socketAt is the inode of the socket that listens at an address or at all addresses of its port.
func socketAt(ip netip.Addr, port uint16) (string, error) {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // no such family here
		}
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			const listening = "0A"
			if len(f) < 10 || f[3] != listening {
				continue
			}
			at, err := kernelAddr(f[1])
			if err == nil && at.Port() == port && (at.Addr() == ip.Unmap() || at.Addr().IsUnspecified()) {
				return f[9], nil
			}
		}
	}
	return "", errors.New("nothing does, on this host")
}

// kernelAddr reads an address in the form of /proc/net/tcp: words of 32 bits, each with its bytes turned round.
func kernelAddr(s string) (netip.AddrPort, error) {
	a, p, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(a)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	port, err := strconv.ParseUint(p, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is not understood", s)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}

// owner finds the process that has a file open, among those that this user may look into.
func owner(link string) (ProcessID, error) {
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ProcessID{}, err
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err != nil || to != link {
			continue // another file, or a process that ended meanwhile
		}
		pid, err := strconv.Atoi(strings.Split(f, "/")[2])
		if err != nil {
			return ProcessID{}, err
		}
		id, _, err := identify(pid)
		return id, err
	}
	return ProcessID{}, errors.New("the process is of another user: run as that user")
}
