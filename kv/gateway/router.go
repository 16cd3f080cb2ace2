package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/btree"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Ranges is how a router reaches ranges.
type Ranges interface {
	// Lookup returns where ranges lie, in key order, from the one that holds key on.
	Lookup(ctx context.Context, key []byte, limit int) ([]*internalpb.RangeLocation, error)
	// Execute runs a command on the store's node, which may be this one.
	Execute(ctx context.Context, store proto.StoreID, req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error)
	// Endpoint is the client address of a store's node; empty when not known.
	Endpoint(store proto.StoreID) string
}

// RouterConfig of a Router.
type RouterConfig struct {
	Ranges Ranges
	// Deadline bounds one command with all its attempts, when the caller's context does not. Default
	// 10 s.
	Deadline time.Duration
	// Attempt bounds one attempt, so that a node that hangs costs no more. Default 1 s.
	Attempt time.Duration
	// BackoffMin and BackoffMax bound the pause between attempts. Default 5 ms and 200 ms.
	BackoffMin, BackoffMax time.Duration
	// CacheMax bounds the cached locations. Default 100,000.
	CacheMax int
	// Wait is how it pauses and bounds attempts. Default wait.Real.
	Wait wait.Scheduler
	// Jitter draws from [0, d). Default: at random.
	Jitter func(d time.Duration) time.Duration
}

// DefaultRouterConfig returns the defaults.
func DefaultRouterConfig() RouterConfig {
	return RouterConfig{Deadline: 10 * time.Second, Attempt: time.Second, BackoffMin: 5 * time.Millisecond,
		BackoffMax: 200 * time.Millisecond, CacheMax: 100_000}
}

// Router finds the leader of the range that holds a key, sends commands there, and tries again
// where that is safe. Every write carries a request id, so a second attempt after an unknown
// outcome answers what the first one did.
type Router struct {
	cfg RouterConfig

	mu      sync.Mutex
	cache   *btree.BTreeG[*location] // by start; spans do not overlap
	lookups map[string]chan struct{} // under way, by the start of the location before the gap
}

// location is a cached descriptor and where its leader was last seen.
type location struct {
	desc   *internalpb.Descriptor
	leader proto.StoreID // 0: not known
	next   int           // which replica is tried when no leader is known
}

func (l *location) holds(at mvcc.Route) bool {
	start, end := l.desc.Start, l.desc.End
	if at.Before {
		return bytes.Compare(start, at.Key) < 0 && (len(end) == 0 || bytes.Compare(at.Key, end) <= 0)
	}
	return bytes.Compare(start, at.Key) <= 0 && (len(end) == 0 || bytes.Compare(at.Key, end) < 0)
}

// candidate is the store that is tried while no leader is known; 0: there is none.
func (l *location) candidate() proto.StoreID {
	if len(l.desc.Replicas) == 0 {
		return 0
	}
	return proto.StoreID(l.desc.Replicas[l.next%len(l.desc.Replicas)].StoreId)
}

// NewRouter returns a router with an empty cache.
func NewRouter(cfg RouterConfig) *Router {
	cfg.Wait = wait.Or(cfg.Wait)
	if cfg.Jitter == nil {
		cfg.Jitter = func(d time.Duration) time.Duration { return rand.N(d) }
	}
	byStart := func(a, b *location) bool { return bytes.Compare(a.desc.Start, b.desc.Start) < 0 }
	return &Router{cfg: cfg, lookups: map[string]chan struct{}{}, cache: btree.NewG(16, byStart)}
}

// errSeveralRanges is returned by Send for a command whose keys lie in several ranges.
var errSeveralRanges = errors.New("the keys lie in several ranges")

// Send runs a command on the range that the route names. keys, when given, must all lie in it:
// errSeveralRanges is the answer when they do not, and nothing was done.
func (r *Router) Send(ctx context.Context, route mvcc.Route, req *internalpb.ExecuteRequest, keys ...[]byte) (
	*internalpb.ExecuteResponse, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = r.cfg.Wait.WithTimeout(ctx, r.cfg.Deadline)
		defer cancel()
	}
	var last error
	unknown := false // an attempt at a write may have been carried out
	pause := r.cfg.BackoffMin
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			d := pause/2 + r.cfg.Jitter(pause/2+1)
			var t *rpcerr.ThrottledError
			if errors.As(last, &t) {
				d = max(d, time.Duration(t.RetryAfterMs)*time.Millisecond)
			}
			if r.cfg.Wait.Sleep(ctx, d) != nil {
				return nil, r.giveUp(ctx, last, unknown)
			}
			pause = min(pause*2, r.cfg.BackoffMax)
		}
		loc, store, err := r.locate(ctx, route)
		if err != nil {
			if ctx.Err() != nil {
				return nil, r.giveUp(ctx, errors.Join(last, err), unknown)
			}
			last = err
			continue
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return !loc.holds(mvcc.Route{Key: k}) }) {
			if unknown { // the range may have been split after an attempt was carried out
				return nil, untold(errSeveralRanges)
			}
			return nil, errSeveralRanges
		}
		resp, err := r.attempt(ctx, store, loc.desc, req)
		if err == nil {
			r.learn(loc, store)
			return resp, nil
		}
		again, maybeDone := r.judge(loc, store, err)
		unknown = unknown || maybeDone && written(req) != nil
		if !again {
			if unknown && !rpcerr.Settles(err, written(req)) {
				err = untold(err)
			}
			return nil, err
		}
		last = err
	}
}

// untold is the error of a write of which an attempt was not answered, and whose last answer does
// not settle it.
func untold(last error) error {
	return rpcerr.Ambiguous(fmt.Sprintf("an attempt was not answered, the last one does not tell: %v", last))
}

// written is what the client sent, if it writes.
func written(req *internalpb.ExecuteRequest) any {
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Put:
		return r.Put
	case *internalpb.ExecuteRequest_Delete:
		return r.Delete
	case *internalpb.ExecuteRequest_Commit:
		return r.Commit
	case *internalpb.ExecuteRequest_Append:
		return r.Append
	case *internalpb.ExecuteRequest_Truncate:
		return r.Truncate
	}
	return nil
}

func (r *Router) attempt(ctx context.Context, store proto.StoreID, d *internalpb.Descriptor,
	req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error) {
	ctx, cancel := r.cfg.Wait.WithTimeout(ctx, r.cfg.Attempt)
	defer cancel()
	routed := &internalpb.ExecuteRequest{Tenant: req.Tenant, RangeId: d.RangeId, EpochVersion: d.Epoch.Version,
		ReadAt: req.ReadAt, Request: req.Request}
	return r.cfg.Ranges.Execute(ctx, store, routed)
}

// judge decides whether another attempt makes sense, and whether this one may have been carried
// out.
func (r *Router) judge(loc *location, store proto.StoreID, err error) (again, maybeDone bool) {
	var (
		notLeader *rpcerr.NotLeaderError
		stale     *rpcerr.StaleEpochError
		throttled *rpcerr.ThrottledError
		ambiguous *rpcerr.AmbiguousError
		table     rpcerr.Error
	)
	switch {
	case errors.As(err, &notLeader):
		r.moved(loc, store, proto.StoreID(notLeader.LeaderStore))
		return true, false
	case errors.As(err, &stale):
		r.forget(loc)
		return true, false
	case errors.As(err, &throttled):
		return true, false
	case errors.As(err, &ambiguous):
		r.moved(loc, store, 0)
		return true, true
	case errors.As(err, &table):
		return false, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r.moved(loc, store, 0)
		return true, true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		r.moved(loc, store, 0)
		return true, true
	}
	return false, false
}

// giveUp says honestly what is known at the deadline.
func (r *Router) giveUp(ctx context.Context, last error, unknown bool) error {
	if unknown {
		return rpcerr.Ambiguous(fmt.Sprintf("no answer before the deadline: %v", last))
	}
	var t rpcerr.Error
	if errors.As(last, &t) {
		return last
	}
	return status.Errorf(codes.Unavailable, "the range could not be reached before the deadline: %v (%v)", last, ctx.Err())
}

// locate returns the cached location of key and the store to try, and fills the cache where it has
// a gap.
func (r *Router) locate(ctx context.Context, route mvcc.Route) (*location, proto.StoreID, error) {
	for {
		if loc, store := r.cached(route); loc != nil {
			return loc, store, nil
		}
		gap, underWay := r.startLookup(route)
		if underWay != nil {
			if err := r.cfg.Wait.Await(ctx, underWay); err != nil {
				return nil, 0, fmt.Errorf("look a range up: %w", err)
			}
			continue
		}
		err := r.fill(ctx, route)
		r.endLookup(gap)
		if err != nil {
			return nil, 0, err
		}
		if loc, store := r.cached(route); loc != nil {
			return loc, store, nil
		}
		return nil, 0, status.Error(codes.Unavailable, "no range is known for the key")
	}
}

// startLookup returns the lookup that is under way for the gap of the cache that the route is in, or
// begins one, which is the caller's then to carry out and to end. All requests of a node may need a
// route at once, when a leader was lost: a driver that was just elected must not be asked by each of
// them.
func (r *Router) startLookup(route mvcc.Route) (gap string, underWay <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := &location{desc: &internalpb.Descriptor{Start: route.Key}}
	r.cache.DescendLessOrEqual(at, func(before *location) bool {
		gap = string(before.desc.Start)
		return false
	})
	if l := r.lookups[gap]; l != nil {
		return gap, l
	}
	r.lookups[gap] = make(chan struct{})
	return gap, nil
}

func (r *Router) endLookup(gap string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.lookups[gap])
	delete(r.lookups, gap)
}

// fill asks the driver for the ranges from the route on and caches them.
func (r *Router) fill(ctx context.Context, route mvcc.Route) error {
	found, err := r.cfg.Ranges.Lookup(ctx, lookupKey(route), lookupLimit)
	if err != nil {
		return fmt.Errorf("look a range up: %w", err)
	}
	for _, f := range found {
		r.insert(f)
	}
	return nil
}

// lookupLimit is how many ranges a lookup asks for, from the one that is needed on.
const lookupLimit = 16

// lookupKey is a key in the range that the route names or, for Before, one that is hardly ever more
// than a range before it: what follows it is looked up too.
func lookupKey(route mvcc.Route) []byte {
	key := bytes.Clone(route.Key)
	n := len(key)
	if !route.Before || n == 0 {
		return key
	}
	if key[n-1] == 0 {
		return key[:n-1]
	}
	key[n-1]--
	return append(key, bytes.Repeat([]byte{0xFF}, 24)...)
}

func (r *Router) cached(route mvcc.Route) (*location, proto.StoreID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var loc *location
	r.cache.DescendLessOrEqual(&location{desc: &internalpb.Descriptor{Start: route.Key}}, func(l *location) bool {
		loc = l
		return route.Before && bytes.Equal(l.desc.Start, route.Key) // then it is the one before
	})
	if loc == nil || !loc.holds(route) {
		return nil, 0
	}
	if loc.leader != 0 {
		return loc, loc.leader
	}
	store := loc.candidate()
	if store == 0 {
		return nil, 0
	}
	return loc, store
}

// insert caches what a lookup found; an older descriptor never replaces a newer one.
func (r *Router) insert(f *internalpb.RangeLocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &location{desc: f.Desc, leader: proto.StoreID(f.LeaderStore)}
	var overlaps []*location
	visit := func(l *location) bool {
		if len(n.desc.End) > 0 && bytes.Compare(l.desc.Start, n.desc.End) >= 0 {
			return false
		}
		if len(l.desc.End) == 0 || bytes.Compare(n.desc.Start, l.desc.End) < 0 {
			overlaps = append(overlaps, l)
		}
		return true
	}
	r.cache.DescendLessOrEqual(n, func(l *location) bool { visit(l); return false })
	r.cache.AscendGreaterOrEqual(n, func(l *location) bool {
		if len(overlaps) > 0 && overlaps[len(overlaps)-1] == l {
			return true
		}
		return visit(l)
	})
	for _, l := range overlaps {
		if newer(l.desc, n.desc) {
			return
		}
	}
	for _, l := range overlaps {
		r.cache.Delete(l)
	}
	if r.cache.Len() >= r.cfg.CacheMax {
		r.cache.Clear(false)
	}
	r.cache.ReplaceOrInsert(n)
}

// newer: a is of the same range and later than b, or of another range after more splits.
func newer(a, b *internalpb.Descriptor) bool {
	if a.Epoch.Version != b.Epoch.Version {
		return a.Epoch.Version > b.Epoch.Version
	}
	return a.RangeId == b.RangeId && a.Epoch.Conf > b.Epoch.Conf
}

// learn remembers who answered as the leader.
func (r *Router) learn(loc *location, store proto.StoreID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	loc.leader = store
}

// moved drops what was believed of the leader: the hint is tried next, or each replica in turn;
// after a whole round the descriptor is looked up again.
func (r *Router) moved(loc *location, tried, hint proto.StoreID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if loc.leader != tried && loc.leader != 0 {
		return // somebody has learnt better meanwhile
	}
	if loc.leader == 0 && loc.candidate() != tried {
		return // somebody else found the same, and the next one is tried already
	}
	loc.leader = 0
	if hint != 0 && hint != tried {
		loc.leader = hint
		return
	}
	loc.next++
	if loc.next%max(len(loc.desc.Replicas), 1) == 0 {
		r.removeLocked(loc)
	}
}

func (r *Router) forget(loc *location) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(loc)
}

// removeLocked leaves what was looked up since in the cache.
func (r *Router) removeLocked(loc *location) {
	if now, ok := r.cache.Get(loc); ok && now == loc {
		r.cache.Delete(loc)
	}
}
