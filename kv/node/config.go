package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sort"
	"strconv"
	"time"

	"github.com/vipkv/vipkv/raftstore/engine"
)

// Config of a node.
type Config struct {
	// DataDir is the store's directory; Keyfile lies outside of it.
	DataDir string
	Keyfile string
	// Listen is for clients, ListenPeer for nodes, ListenHTTP for metrics and health. Port 0 takes a
	// free one.
	Listen, ListenPeer, ListenHTTP string
	// AdvertiseX is what others are told, when it is not where the node listens.
	Advertise, AdvertisePeer, AdvertiseHTTP string
	// Join names peer addresses of a cluster to join. Empty: an empty directory becomes a new cluster.
	Join []string
	// Locality says where the node is, outermost first in meaning (region, zone, rack).
	Locality map[string]string
	// InsecurePlaintext allows listeners off loopback although there is no TLS yet.
	InsecurePlaintext bool
	// AdminCredentialOut is where the admin credential of a new cluster is written (0600).
	AdminCredentialOut string
	// Version is this program's, for people.
	Version string
	Logger  *slog.Logger
	// FS is the file system of the store. Default: the operating system's.
	FS engine.FS
	// Net is where the node listens and how it reaches others. Default: the operating system's TCP.
	Net Network
	// Ready, when set, is called once the node serves.
	Ready func(Addresses)
	Tunables
}

// Network is a node's place on a network. Tests give one in memory that can be cut.
type Network interface {
	// Listen takes an address; port 0 takes a free one.
	Listen(addr string) (net.Listener, error)
	// Dial connects to an address, within ctx.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Addresses are where a node listens.
type Addresses struct{ Client, Peer, HTTP string }

// Tunables are settings that have defaults good for everybody; `--set name=value` and the config
// file's `set` change them.
type Tunables struct {
	// SplitBytes is the size above which a range splits. Default 128 MiB.
	SplitBytes uint64
	// CacheBytes is the engine's block cache. Default 256 MiB.
	CacheBytes int64
	// LostAfter is how long a store may be silent before its replicas are replaced. Default 60 s.
	LostAfter time.Duration
	// HeartbeatInterval is how often a node reports to the placement driver. Default 500 ms.
	HeartbeatInterval time.Duration
	// TickInterval is raft's tick; an election starts after 10 to 20 of them. Default 100 ms.
	TickInterval time.Duration
	// RequestsMax bounds the client requests that a node works on; above, they are refused. Default
	// 4,096.
	RequestsMax int
	// ClockAheadMax is how far the clock may lie ahead of the oracle's saved bound when it starts:
	// timestamps never go back, so a clock with a wrong year would harm for ever. Default one year; 0:
	// any distance.
	ClockAheadMax time.Duration
	// Pprof serves Go's profiles under /debug/pprof/ on the HTTP address. They show the shape of the load, and heap
	// profiles hold memory: for whoever may read the disk, no others. Default off.
	Pprof bool
}

// DefaultTunables returns the defaults.
func DefaultTunables() Tunables {
	return Tunables{SplitBytes: 128 << 20, CacheBytes: 256 << 20, LostAfter: 60 * time.Second,
		HeartbeatInterval: 500 * time.Millisecond, TickInterval: 100 * time.Millisecond, RequestsMax: 4096,
		ClockAheadMax: 365 * 24 * time.Hour}
}

// setting is one tunable by name.
type setting struct {
	help string
	set  func(*Tunables, string) error
}

func settings() map[string]setting {
	size := func(field func(*Tunables) *uint64, low uint64) func(*Tunables, string) error {
		return func(t *Tunables, v string) error {
			n, err := strconv.ParseUint(v, 10, 63)
			if err != nil || n < low {
				return fmt.Errorf("want a number of bytes, at least %d, have %q", low, v)
			}
			*field(t) = n
			return nil
		}
	}
	span := func(field func(*Tunables) *time.Duration, low time.Duration) func(*Tunables, string) error {
		return func(t *Tunables, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil || d < low {
				return fmt.Errorf("want a duration such as 500ms, at least %s, have %q", low, v)
			}
			*field(t) = d
			return nil
		}
	}
	return map[string]setting{
		"split-bytes": {"size above which a range splits",
			size(func(t *Tunables) *uint64 { return &t.SplitBytes }, 64<<10)},
		"cache-bytes": {"the engine's block cache", func(t *Tunables, v string) error {
			var n Tunables
			err := size(func(t *Tunables) *uint64 { return &t.SplitBytes }, 1<<20)(&n, v)
			t.CacheBytes = int64(n.SplitBytes)
			return err
		}},
		"lost-after": {"silence after which a store's replicas are replaced",
			span(func(t *Tunables) *time.Duration { return &t.LostAfter }, time.Second)},
		"heartbeat-interval": {"how often a node reports to the placement driver",
			span(func(t *Tunables) *time.Duration { return &t.HeartbeatInterval }, 50*time.Millisecond)},
		"tick-interval": {"raft's tick; an election starts after 10 to 20 ticks without a leader",
			span(func(t *Tunables) *time.Duration { return &t.TickInterval }, 10*time.Millisecond)},
		"clock-ahead-max": {"how far the clock may be ahead of the newest timestamp at a start; 0: any distance",
			span(func(t *Tunables) *time.Duration { return &t.ClockAheadMax }, 0)},
		"pprof": {"serve Go's profiles under /debug/pprof/ on the HTTP address: true or false",
			func(t *Tunables, v string) error {
				on, err := strconv.ParseBool(v)
				if err != nil {
					return fmt.Errorf("want true or false, have %q", v)
				}
				t.Pprof = on
				return nil
			}},
		"requests-max": {"client requests a node works on at a time", func(t *Tunables, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return fmt.Errorf("want a positive number, have %q", v)
			}
			t.RequestsMax = n
			return nil
		}},
	}
}

// Set changes a tunable by its name.
func (t *Tunables) Set(name, value string) error {
	s, ok := settings()[name]
	if !ok {
		return fmt.Errorf("unknown setting %q; there are %v", name, SettingNames())
	}
	if err := s.set(t, value); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}

// SettingNames lists the names that Set knows.
func SettingNames() (names []string) {
	for n := range settings() {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// unreachableAfter is otherwise, or what suits heartbeats that are rare: a node must not be taken for
// unreachable between two of them.
func (t *Tunables) unreachableAfter(otherwise time.Duration) time.Duration {
	return min(max(otherwise, 3*t.HeartbeatInterval), t.LostAfter)
}

// Validate checks the config.
func (c *Config) Validate() error {
	if c.LostAfter < 2*c.HeartbeatInterval {
		return fmt.Errorf("a node that reports each %v would be lost after %v of silence: "+
			"lost-after must be two heartbeat-intervals at least", c.HeartbeatInterval, c.LostAfter)
	}
	if c.DataDir == "" || c.Keyfile == "" {
		return errors.New("a data directory and a keyfile are needed")
	}
	for _, a := range []string{c.Listen, c.ListenPeer, c.ListenHTTP} {
		if a == "" {
			return errors.New("addresses to listen on are needed")
		}
		if !c.InsecurePlaintext && !Loopback(a) {
			return fmt.Errorf("%s is not a loopback address and there is no TLS yet: "+
				"listen on 127.0.0.1, or accept plaintext with --insecure-plaintext", a)
		}
	}
	return nil
}

// Loopback tells whether an address to listen on can be reached from this machine only.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
