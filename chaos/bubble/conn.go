package bubble

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection. All of it is guarded by Network.mu.
type conn struct {
	host          *Host
	peer          *conn
	in, out       *pipe
	local, remote *net.TCPAddr

	err           error // why this end is of no use any more
	unacked       time.Time
	readDeadline  deadline
	writeDeadline deadline
}

// pipe is one direction. Its condition is shared by the reader and the writer.
type pipe struct {
	cond  *sync.Cond
	parts []part
	size  int
	last  time.Time // arrival of the newest part
	fin   bool      // the writer has closed: what is here is all
}

// part is what one Write sent; fin parts carry the end.
type part struct {
	data []byte
	at   time.Time // when it arrives
	fin  bool
}

func newPipe(n *Network) *pipe { return &pipe{cond: sync.NewCond(&n.mu)} }

// addLocked queues a part behind all others.
func (p *pipe) addLocked(s part) {
	if s.at.Before(p.last) {
		s.at = p.last
	}
	p.last = s.at
	p.parts = append(p.parts, s)
	p.size += len(s.data)
	p.wakeAtLocked(s.at)
}

// wakeAtLocked wakes those who wait on the pipe, then.
func (p *pipe) wakeAtLocked(at time.Time) {
	if d := time.Until(at); d > 0 {
		time.AfterFunc(d, p.cond.Broadcast) // ends by itself
		return
	}
	p.cond.Broadcast()
}

// dropLocked loses what has not arrived.
func (p *pipe) dropLocked(now time.Time) {
	for i := range p.parts {
		if p.parts[i].at.After(now) {
			for _, lost := range p.parts[i:] {
				p.size -= len(lost.data)
			}
			p.parts = p.parts[:i]
			return
		}
	}
}

// deadline of reads or writes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// setLocked sets the deadline and wakes wake when it passes.
func (d *deadline) setLocked(t time.Time, wake *sync.Cond) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, wake.Broadcast)
	}
	wake.Broadcast()
}

func (d *deadline) passedLocked() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if c.err != nil {
			return 0, c.fail("read", c.err)
		}
		if c.readDeadline.passedLocked() {
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		}
		if c.arrivedLocked() {
			return c.takeLocked(b)
		}
		c.in.cond.Wait()
	}
}

// arrivedLocked tells whether there is something to read. What would arrive during a cut waits for its end.
func (c *conn) arrivedLocked() bool {
	if len(c.in.parts) == 0 || time.Now().Before(c.in.parts[0].at) {
		return false
	}
	cut := c.host.net.linkLocked(c.peer.host.addr, c.host.addr).cut
	return cut.IsZero() || !c.in.parts[0].at.After(cut)
}

// takeLocked moves what has arrived into b.
func (c *conn) takeLocked(b []byte) (int, error) {
	s := &c.in.parts[0]
	if s.fin {
		return 0, io.EOF
	}
	k := copy(b, s.data)
	s.data = s.data[k:]
	c.in.size -= k
	if len(s.data) == 0 {
		c.in.parts[0] = part{}
		c.in.parts = c.in.parts[1:]
	}
	c.in.cond.Broadcast() // a writer may wait for room
	return k, nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (sent int, err error) {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if c.err != nil {
			return sent, c.fail("write", c.err)
		}
		if c.writeDeadline.passedLocked() {
			return sent, c.fail("write", os.ErrDeadlineExceeded)
		}
		if len(b) == 0 {
			return sent, nil
		}
		if !n.pathLocked(c.host.addr, c.peer.host.addr) {
			c.unacknowledgedLocked()
		} else if c.peer.err != nil {
			c.refusedLocked()
			return sent + len(b), nil // it has left; the refusal comes later
		}
		if k := min(len(b), window-c.out.size); k > 0 {
			data := append([]byte(nil), b[:k]...)
			c.out.addLocked(part{data: data, at: n.arrivalLocked(c.host.addr, c.peer.host.addr)})
			b, sent = b[k:], sent+k
			continue
		}
		c.out.cond.Wait()
	}
}

// unacknowledgedLocked starts the time within which what was sent must be acknowledged, unless it runs.
func (c *conn) unacknowledgedLocked() {
	if !c.unacked.IsZero() {
		return
	}
	now := time.Now()
	c.unacked = now
	time.AfterFunc(userTimeout, func() { // ends by itself
		c.host.net.mu.Lock()
		defer c.host.net.mu.Unlock()
		if c.unacked.Equal(now) {
			c.breakLocked(errTimedOut())
		}
	})
}

// refusedLocked resets this end once the far host's answer to a segment for nobody is here.
func (c *conn) refusedLocked() {
	n, there, here := c.host.net, c.peer.host.addr, c.host.addr
	at := n.arrivalLocked(here, there).Add(n.linkLocked(there, here).delay)
	if at.Before(c.in.last) {
		at = c.in.last
	}
	time.AfterFunc(time.Until(at), func() { // ends by itself
		n.mu.Lock()
		defer n.mu.Unlock()
		if c.err == nil {
			c.resetLocked()
		}
	})
}

// breakLocked ends this end; the other one does not hear of it.
func (c *conn) breakLocked(err error) {
	if c.err == nil {
		c.err = err
	}
	c.unacked = time.Time{}
	delete(c.host.net.conns, c)
	c.in.cond.Broadcast()
	c.out.cond.Broadcast()
}

// resetLocked tells this end that there is nobody at the other one.
func (c *conn) resetLocked() { c.breakLocked(syscall.ECONNRESET) }

// Close implements net.Conn. The other end reads what was sent, and then its end; when it writes, it is reset.
func (c *conn) Close() error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.readDeadline.setLocked(time.Time{}, c.in.cond)
	c.writeDeadline.setLocked(time.Time{}, c.out.cond)
	if c.err != nil {
		c.err = net.ErrClosed
		return nil
	}
	if !c.out.fin {
		c.out.fin = true
		c.out.addLocked(part{fin: true, at: n.arrivalLocked(c.host.addr, c.peer.host.addr)})
	}
	c.breakLocked(net.ErrClosed)
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // never fails
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	c.readDeadline.setLocked(t, c.in.cond)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	c.writeDeadline.setLocked(t, c.out.cond)
	return nil
}
