package client

import (
	"bytes"
	"slices"
	"sort"
	"sync"
	"time"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	routesMax   = 10_000                 // when full the cache is emptied and filled again
	locateEvery = 500 * time.Millisecond // pause after a Locate in vain, and between two for ranges without a leader
)

// Routing keys begin with the space that a key is in.
const (
	spaceKeys    = 'k'
	spaceStreams = 's'
)

func routeOfKey(key []byte) []byte {
	return append([]byte{spaceKeys}, key...)
}

// routeOfStream is the routing key of a stream's tail: the name with 0x00 as 0x00 0xFF, a terminator, and the tail's
// letter. Appends and heads are there.
func routeOfStream(name string) []byte {
	k := make([]byte, 0, len(name)+4)
	k = append(k, spaceStreams)
	for i := range len(name) {
		k = append(k, name[i])
		if name[i] == 0 {
			k = append(k, 0xFF)
		}
	}
	return append(k, 0x00, 0x01, 'z')
}

// route is one range as last heard of; immutable.
type route struct {
	start, end []byte // an empty end: to the end of the tenant
	rangeID    uint64
	version    uint64
	leader     string // empty: not known
	replicas   []string
}

func (r *route) holds(key []byte) bool {
	return bytes.Compare(r.start, key) <= 0 && (len(r.end) == 0 || bytes.Compare(key, r.end) < 0)
}

func (r *route) overlaps(o *route) bool {
	return (len(o.end) == 0 || bytes.Compare(r.start, o.end) < 0) &&
		(len(r.end) == 0 || bytes.Compare(o.start, r.end) < 0)
}

// routeCache is what is known of the tenant's ranges.
type routeCache struct {
	locating chan struct{} // holds one token while a Locate is under way

	mu struct { // never held across I/O
		sync.Mutex
		routes []*route // I4: sorted by start, no overlaps
		pause  time.Time
	}
}

func newRouteCache() *routeCache {
	return &routeCache{locating: make(chan struct{}, 1)}
}

// find returns the route that holds key, or nil.
func (c *routeCache) find(key []byte) *route {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.mu.routes), func(i int) bool {
		return bytes.Compare(c.mu.routes[i].start, key) > 0
	})
	if i == 0 || !c.mu.routes[i-1].holds(key) {
		return nil
	}
	return c.mu.routes[i-1]
}

// update takes in what a server said. A route of a range that is known at a newer version is left out.
func (c *routeCache) update(ranges []*vipkvpb.RangeRoute) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.routes)+len(ranges) > routesMax {
		c.mu.routes = nil
	}
	for _, pb := range ranges[:min(len(ranges), routesMax)] {
		r := &route{
			start: pb.Start, end: pb.End, rangeID: pb.RangeId, version: pb.EpochVersion,
			leader: pb.LeaderEndpoint, replicas: pb.ReplicaEndpoints,
		}
		if len(r.end) > 0 && bytes.Compare(r.start, r.end) >= 0 {
			continue
		}
		newer := func(o *route) bool { return o.rangeID == r.rangeID && o.version > r.version }
		if slices.ContainsFunc(c.mu.routes, newer) {
			continue
		}
		c.mu.routes = slices.DeleteFunc(c.mu.routes, func(o *route) bool {
			return o.rangeID == r.rangeID || o.overlaps(r)
		})
		i := sort.Search(len(c.mu.routes), func(i int) bool {
			return bytes.Compare(c.mu.routes[i].start, r.start) > 0
		})
		c.mu.routes = slices.Insert(c.mu.routes, i, r)
	}
}

// setLeader notes who leads a range; an empty endpoint: not known.
func (c *routeCache) setLeader(rangeID uint64, endpoint string) {
	c.change(func(r *route) bool { return r.rangeID == rangeID }, endpoint)
}

// dropLeader forgets an endpoint that does not answer as a leader.
func (c *routeCache) dropLeader(endpoint string) {
	c.change(func(r *route) bool { return r.leader == endpoint }, "")
}

func (c *routeCache) change(which func(*route) bool, leader string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range c.mu.routes {
		if which(r) && r.leader != leader {
			changed := *r
			changed.leader = leader
			c.mu.routes[i] = &changed
		}
	}
}

// startLocate says whether the caller should ask for routes now; if so it must call endLocate. One caller asks at a
// time, the others go on without.
func (c *routeCache) startLocate(now time.Time) bool {
	select {
	case c.locating <- struct{}{}:
	default:
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.mu.pause) {
		<-c.locating
		return false
	}
	return true
}

// endLocate ends what startLocate began; pause tells when the next may begin.
func (c *routeCache) endLocate(pause time.Time) {
	c.mu.Lock()
	c.mu.pause = pause
	c.mu.Unlock()
	<-c.locating
}
