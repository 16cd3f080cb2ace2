package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
)

// client is one client of a workload: a process of its own with the client that programs use. It does one operation at
// a time and records what it was told.
type simClient struct {
	c      *cluster
	of     workload.Workload
	place  int
	node   int
	id     int // as in the history: new after each operation of unknown outcome
	r      *rand.Rand
	proc   *process
	stores map[string]*client.Client // by the name of a tenant
	busy   bool
}

const (
	opTimeout    = 3 * sec
	finalTimeout = 60 * sec
)

func newClient(c *cluster, of workload.Workload, place int) *simClient {
	n := len(c.clients)
	cl := &simClient{c: c, of: of, place: place, node: clientBase + n, r: c.k.rng("client", n)}
	cl.rename()
	cl.proc = newProcess(c.k, cl.r, func(d int64, kind string, run func()) { c.k.after(d, cl.node, kind, run) })
	var endpoints []string
	for _, s := range c.stores {
		endpoints = append(endpoints, address(s.port))
	}
	first, err := client.Open(context.Background(), client.Options{
		Endpoints: endpoints, Credential: credential(simTenant), Timeout: time.Duration(opTimeout),
		AttemptTimeout: time.Duration(c.o.Upper.AttemptNS),
		World: &client.World{
			Connect: func(addr string) (grpc.ClientConnInterface, error) { return c.connect(cl.proc, cl.node, addr) },
			Wait:    cl.proc, Now: func() time.Time { return wallTime(c.k.now) }, Wall: c.truth.wall,
			Draw: func(n int64) int64 { return between(cl.r, 0, n) },
		}})
	if err != nil {
		c.k.fail("client %d: %w", n, err)
		return cl
	}
	cl.stores = map[string]*client.Client{"": first}
	for i, name := range workload.Tenants(of) {
		cl.stores[name] = first.WithCredential(credential(simTenant + 1 + proto.TenantID(i)))
		c.truth.canary(name)
	}
	return cl
}

// rename gives the client a number that was never used.
func (cl *simClient) rename() {
	cl.c.clientIDs++
	cl.id = cl.c.clientIDs
}

// work goes on until the workloads are stopped.
func (cl *simClient) work() {
	for {
		_ = cl.proc.Sleep(context.Background(), time.Duration(between(cl.r, 0, 2*cl.c.o.Think)))
		if cl.c.stopped {
			return
		}
		op := cl.of.Draw(cl.r, cl.place)
		cl.carryOut(&op)
	}
}

// carryOut does one operation and records it.
func (cl *simClient) carryOut(op *history.Op) {
	cl.busy = true
	op.Client, op.Invoke = cl.id, cl.c.k.now
	workload.Exec(context.Background(), cl.stores[op.Tenant], op)
	op.Return = cl.c.k.now
	cl.busy = false
	cl.of.Ended(op)
	cl.c.history = append(cl.c.history, *op)
	cl.c.k.mixString(string(op.Type))
	cl.c.k.mix(op.Version)
	switch op.Type {
	case history.OK:
		cl.c.count.ok++
	case history.Info:
		cl.c.count.unknown++
		cl.rename()
	default:
		cl.c.count.failed++
	}
	cl.c.k.note("client %d: %s %s %s = %s, %d; %s %s", op.Client, op.Kind, op.Key, op.Arg, op.Result,
		len(op.List), op.Type, op.Err)
}

// until carries operations out in order, each until it succeeds.
func (cl *simClient) until(ops []history.Op) {
	for i := range ops {
		for {
			op := ops[i]
			op.Txn = append([]history.Mop(nil), op.Txn...)
			cl.carryOut(&op)
			if op.Type == history.OK {
				break
			}
			_ = cl.proc.Sleep(context.Background(), 100*time.Millisecond)
		}
	}
}

// each runs f for the first client of each workload and waits for all.
func (c *cluster) each(what string, f func(*simClient)) {
	left := 0
	for _, cl := range c.clients {
		if cl.place == 0 {
			left++
			cl.proc.Go(func() {
				f(cl)
				left--
			})
		}
	}
	c.k.runUntil(c.k.now+finalTimeout, func() bool { return left == 0 })
	if c.k.failure == nil && left > 0 {
		c.k.broken(FinalRead, "%s of %d workloads were not answered in %d s",
			what, left, finalTimeout/sec)
	}
}

// startClients makes the clients of all workloads, lets the workloads prepare, and lets the clients work.
func (c *cluster) startClients() {
	for _, name := range c.o.Upper.Workloads {
		w, err := workload.New(name, workload.Options{Clients: c.o.Upper.Clients, KeyOps: c.o.Upper.KeyOps})
		if err != nil {
			c.k.fail("%w", err)
			return
		}
		c.workloads = append(c.workloads, w)
		for place := range w.Clients() {
			c.clients = append(c.clients, newClient(c, w, place))
		}
	}
	c.each("preparations", func(cl *simClient) { cl.until(cl.of.Setup()) })
	for _, cl := range c.clients {
		cl.proc.Go(cl.work)
	}
}

// finalReads reads everything through clients. The driver may have moved something meanwhile: it comes to rest again.
func (c *cluster) finalReads() {
	c.each("final reads", func(cl *simClient) { cl.until(cl.of.Final()) })
	c.rest()
}

func (c *cluster) idle() bool {
	for _, cl := range c.clients {
		if cl.busy {
			return false
		}
	}
	return true
}

// judge gives the history to the workloads' checkers.
func (c *cluster) judge() {
	byWorkload := map[string][]history.Op{}
	for _, op := range c.history {
		byWorkload[op.Workload] = append(byWorkload[op.Workload], op)
	}
	for _, w := range c.workloads {
		for _, v := range w.Check(byWorkload[w.Name()]) {
			if v.Outcome == check.Fail {
				c.k.broken(w.Name(), "%s: %s: %s", w.Name(), v.Checker, verdictText(&v))
			}
		}
	}
}

func verdictText(v *check.Verdict) string {
	text := v.Reason
	for _, a := range v.Anomalies {
		text += fmt.Sprintf("\n%s: %s", a.Name, a.Text)
	}
	return text
}
