package bubble

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a connection between two hosts.
func pair(t *testing.T) (n *Network, a, b net.Conn) {
	t.Helper()
	n = NewNetwork(1)
	from, to := n.Up("127.0.0.1"), n.Up("127.0.0.2")
	l, err := to.Listen("127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	if a, err = from.Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return n, a, b
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear reads once within a second and returns what came and the error.
func hear(c net.Conn) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(time.Second)) // never fails
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func TestNetworkDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t)
		n.Delay("127.0.0.1", "127.0.0.2", 50*time.Millisecond)
		began := time.Now()
		say(t, a, "one")
		n.Delay("127.0.0.1", "127.0.0.2", 0)
		say(t, a, "two")
		for _, want := range []string{"one", "two"} {
			if got, err := hear(b); got != want || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if d := time.Since(began); d < 50*time.Millisecond || d > 60*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := hear(b); err != io.EOF {
			t.Fatal(err)
		}
		say(t, b, "to nobody")
		if _, err := hear(b); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	})
}

func TestNetworkHoldsBackWhatIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t)
		say(t, a, "before")
		time.Sleep(time.Second)
		n.Cut("127.0.0.1", "127.0.0.2")
		say(t, a, "during")
		if got, err := hear(b); got != "before" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := hear(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		say(t, b, "back") // the other way is open
		if got, err := hear(a); got != "back" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		n.Heal("127.0.0.1", "127.0.0.2")
		if got, err := hear(b); got != "during" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		n.Cut("127.0.0.2", "127.0.0.1") // now what a says arrives, and is not acknowledged
		say(t, a, "alone")
		if got, err := hear(b); got != "alone" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		time.Sleep(userTimeout)
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Fatal(err)
		}
	})
}

func TestNetworkPowerLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t)
		host := b.(*conn).host
		say(t, b, "on the way")
		host.PowerLoss()
		if _, err := hear(a); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		say(t, a, "hello?")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := host.Dial(ctx, "127.0.0.1:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Fatal(err)
		}
		again := n.Up("127.0.0.2")
		if _, err := a.(*conn).host.Dial(t.Context(), "127.0.0.2:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		l, err := again.Listen("127.0.0.2:7")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
