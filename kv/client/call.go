package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	backoffMin   = 10 * time.Millisecond
	backoffMax   = 500 * time.Millisecond
	reroutesMax  = 3 // in a row without a pause
	brokenMax    = 3 // answers that no program can act on
	locateRanges = 100
)

// call is one logical operation.
type call struct {
	name   string // for errors
	key    []byte // routing key; nil: any node
	writes bool
	once   bool // not safe to send again when it may have been executed
	sent   any  // the message of a write with a request id
	invoke invoke
}

type connection = grpc.ClientConnInterface

type invoke func(ctx context.Context, conn connection, opts ...grpc.CallOption) error

// progress is what one call knows of its attempts.
type progress struct {
	tried    map[string]int
	hint     string // where a server said that the leader is
	unknown  bool   // an attempt may have been executed (I2)
	last     error
	failures int // in a row that ask for a pause
	reroutes int // in a row without a pause
	broken   int
	timeouts int
}

// do carries op out: attempts until one is answered for good or the time is over.
func (c *Client) do(ctx context.Context, op call) error {
	if c.opts.Credential != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.opts.Credential)
	}
	ctx, cancel := c.opts.World.Wait.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	p := progress{tried: make(map[string]int)}
	for {
		addr, sent, err := c.attempt(ctx, op, &p)
		if err == nil {
			return nil
		}
		v := c.judge(ctx, op, addr, err, &p)
		if sent && v.unknown && op.writes {
			p.unknown = true
		}
		p.last = err
		if !v.again || p.broken >= brokenMax || (op.once && p.unknown) {
			return c.finish(ctx, op, &p, v.settles)
		}
		if !c.pause(ctx, v, &p) {
			return c.finish(ctx, op, &p, false)
		}
	}
}

// attempt sends op once. sent is false when it surely did not leave.
func (c *Client) attempt(ctx context.Context, op call, p *progress) (addr string, sent bool, err error) {
	addr, others := c.pool.pick(c.preferred(ctx, op, p), p.tried)
	p.hint = ""
	conn, err := c.pool.conn(addr)
	if err != nil {
		return addr, false, err
	}
	if others {
		rounds := min(p.timeouts/len(c.opts.Endpoints), 6)
		limited, cancel := c.opts.World.Wait.WithTimeout(ctx, c.opts.AttemptTimeout<<rounds)
		defer cancel()
		ctx = limited
	}
	var to peer.Peer
	err = op.invoke(ctx, conn, grpc.Peer(&to))
	if err == nil {
		c.pool.answered(addr, true)
		return addr, true, nil
	}
	return addr, to.Addr != nil, rpcerr.Decode(err)
}

// preferred lists where op should go, best first.
func (c *Client) preferred(ctx context.Context, op call, p *progress) []string {
	if p.hint != "" {
		return []string{p.hint}
	}
	if op.key == nil {
		return nil
	}
	r := c.routes.find(op.key)
	if r == nil || r.leader == "" {
		c.locate(ctx, op.key)
		r = c.routes.find(op.key)
	}
	if r == nil {
		return nil
	}
	return append([]string{r.leader}, r.replicas...)
}

// locate asks for the routes from key on, unless that is being done or was done in vain a moment ago. Nothing depends
// on its success: any node takes any call (I4).
func (c *Client) locate(ctx context.Context, key []byte) {
	if !c.routes.startLocate(c.opts.World.Now()) {
		return
	}
	pause := c.opts.World.Now().Add(locateEvery)
	defer func() { c.routes.endLocate(pause) }()
	ctx, cancel := c.opts.World.Wait.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	addr, _ := c.pool.pick(nil, nil)
	conn, err := c.pool.conn(addr)
	if err != nil {
		return
	}
	res, err := vipkvpb.NewKVClient(conn).Locate(ctx, &vipkvpb.LocateRequest{Start: key, Limit: locateRanges})
	if err != nil {
		if classify(rpcerr.Decode(err)).silent {
			c.pool.answered(addr, false)
			c.routes.dropLeader(addr)
		}
		return
	}
	c.pool.answered(addr, true)
	c.routes.update(res.Ranges)
	if r := c.routes.find(key); r != nil && r.leader != "" {
		pause = time.Time{}
	}
}

// judge classifies what came of an attempt at addr, and corrects routes and endpoints by it.
func (c *Client) judge(ctx context.Context, op call, addr string, err error, p *progress) verdict {
	p.tried[addr]++
	v := classify(err)
	var typed rpcerr.Error
	if op.sent != nil && errors.As(err, &typed) {
		v.settles = rpcerr.Settles(err, op.sent)
	}
	if v.silent && ctx.Err() == nil {
		c.pool.answered(addr, false)
		c.routes.dropLeader(addr)
	}
	if v.timeout {
		p.timeouts++
	}
	if v.broken {
		p.broken++
	}
	var notLeader *rpcerr.NotLeaderError
	var stale *rpcerr.StaleEpochError
	switch {
	case errors.As(err, &notLeader):
		c.routes.setLeader(notLeader.RangeId, notLeader.LeaderEndpoint)
		p.hint = notLeader.LeaderEndpoint
	case errors.As(err, &stale):
		c.routes.update(stale.Ranges)
		p.tried[addr]-- // it may well be the right one for the new range
	}
	if v.wait > 0 {
		p.tried[addr]-- // the right one, but busy
	}
	return v
}

// pause waits before the next attempt: not at all when there is somewhere better to go, else with exponential backoff,
// at least as long as the server asked. It returns false when no time is left.
func (c *Client) pause(ctx context.Context, v verdict, p *progress) bool {
	if v.reroute && (p.hint != "" || v.fresh) && p.reroutes < reroutesMax {
		p.reroutes++
		return ctx.Err() == nil
	}
	p.reroutes = 0
	d := min(backoffMin<<min(p.failures, 10), backoffMax)
	p.failures++
	d = max(d/2+time.Duration(c.opts.World.Draw(int64(d/2))), v.wait)
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(c.opts.World.Now()) <= d {
		return false
	}
	return c.opts.World.Wait.Sleep(ctx, d) == nil
}

// finish makes the error that the caller gets (I2).
func (c *Client) finish(ctx context.Context, op call, p *progress, settles bool) error {
	err := p.last
	if e := ctx.Err(); e != nil && !errors.Is(err, e) && !settles {
		switch status.Code(err) {
		case codes.DeadlineExceeded, codes.Canceled:
			err = e // says the same
		default:
			err = fmt.Errorf("%w: %w", e, err)
		}
	}
	if !p.unknown || settles || fault.On(fault.UnknownIsFailure) {
		return fmt.Errorf("%s: %w", op.name, err)
	}
	var ambiguous *rpcerr.AmbiguousError
	if errors.As(err, &ambiguous) {
		return fmt.Errorf("%s: %w", op.name, err)
	}
	reason := "an attempt was not answered, and the last one neither told"
	return fmt.Errorf("%s: %w: %w", op.name, rpcerr.Ambiguous(reason), err)
}
