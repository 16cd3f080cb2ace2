package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/netns"
)

// What a bad network is like.
const (
	badLoss      = 0.05
	badDuplicate = 0.05
	badDelay     = 20 * time.Millisecond
	badJitter    = 30 * time.Millisecond
	swizzleWays  = 8           // at most
	swizzleStep  = time.Second // from one cut, or mend, to the next
)

func netFaults() []Fault {
	return []Fault{
		{Name: "isolate", Text: "the node that leads most ranges reaches nobody, and nobody reaches it",
			Minority: true, aim: leader, hurt: isolate},
		{Name: "cut-send", Text: "what the node that leads most ranges sends to other nodes is lost",
			Minority: true, aim: leader, hurt: cutSend},
		{Name: "cut-receive", Text: "what other nodes send to the node that leads most ranges is lost",
			Minority: true, aim: leader, hurt: cutReceive},
		{Name: "cut-client", Text: "clients and the node that leads most ranges do not reach each other",
			Minority: true, aim: leader, hurt: cutClient},
		{Name: "swizzle", Text: "links between nodes are cut one by one and mended in another order",
			aim: everyone, hurt: swizzle},
		{Name: "bad-network", Text: "all packets may be lost, doubled, late and out of order",
			Minority: true, aim: everyone, hurt: badNetwork},
	}
}

// way is one direction.
type way struct{ from, to netns.Host }

// cut drops what goes these ways until it is mended. The evidence is that packets were dropped, in all
// directions when each is set, else in any.
func (h *hurt) cut(ways []way, each bool) {
	network := h.c.Net
	before := make([]uint64, len(ways))
	for i, w := range ways {
		before[i] = network.Counters(w.from, w.to).Cut
		network.Cut(w.from, w.to)
	}
	h.mend = func(context.Context) (bool, string, error) {
		dropped, silent := uint64(0), 0
		for i, w := range ways {
			network.Set(w.from, w.to, netns.Link{})
			n := network.Counters(w.from, w.to).Cut - before[i]
			if dropped += n; n == 0 {
				silent++
			}
		}
		bit := dropped > 0 && (silent == 0 || !each)
		return bit, fmt.Sprintf("%d packets dropped on %d of %d ways", dropped, len(ways)-silent,
			len(ways)), nil
	}
}

func isolate(_ context.Context, h *hurt) error {
	me := netns.Host(h.node())
	var ways []way
	for _, o := range append(hosts(h.c.others(h.node())), netns.Clients) {
		ways = append(ways, way{me, o}, way{o, me})
	}
	h.cut(ways, false) // who has nothing to say loses nothing
	return nil
}

func cutSend(_ context.Context, h *hurt) error {
	var ways []way
	for _, o := range hosts(h.c.others(h.node())) {
		ways = append(ways, way{netns.Host(h.node()), o})
	}
	h.cut(ways, true)
	return nil
}

func cutReceive(_ context.Context, h *hurt) error {
	var ways []way
	for _, o := range hosts(h.c.others(h.node())) {
		ways = append(ways, way{o, netns.Host(h.node())})
	}
	h.cut(ways, true)
	return nil
}

// cutClient knocks once: clients that have found a better way lately may not try this one meanwhile.
func cutClient(_ context.Context, h *hurt) error {
	me := netns.Host(h.node())
	h.cut([]way{{me, netns.Clients}, {netns.Clients, me}}, false)
	conn, err := (&net.Dialer{Timeout: knock}).Dial("tcp", h.c.Endpoint(h.node()))
	if err == nil {
		return errors.Join(errors.New("a client reached the node that was cut off"), conn.Close())
	}
	return nil
}

// knock is how long a client tries to reach a node that was cut off.
const knock = 300 * time.Millisecond

// swizzle cuts in the background; mending takes a moment for each link, too.
func swizzle(_ context.Context, h *hurt) error {
	network := h.c.Net
	var ways []way
	for _, a := range hosts(h.nodes) {
		for _, b := range hosts(h.nodes) {
			if a != b {
				ways = append(ways, way{a, b})
			}
		}
	}
	before := network.Total(nil).Cut
	shuffle := func() {
		h.r.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
	}
	shuffle()
	ways = ways[:min(len(ways), swizzleWays)]
	stop := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		for _, w := range ways {
			network.Cut(w.from, w.to)
			select {
			case <-stop:
				return
			case <-time.After(swizzleStep):
			}
		}
	})
	h.mend = func(context.Context) (bool, string, error) {
		close(stop)
		cutting.Wait()
		shuffle()
		for _, w := range ways {
			network.Set(w.from, w.to, netns.Link{})
			time.Sleep(swizzleStep)
		}
		dropped := network.Total(nil).Cut - before
		evidence := fmt.Sprintf("%d packets dropped, on %d links in turn", dropped, len(ways))
		return dropped > 0, evidence, nil
	}
	return nil
}

func badNetwork(_ context.Context, h *hurt) error {
	network := h.c.Net
	before := network.Total(nil)
	network.SetAll(badLink(h.r))
	h.mend = func(context.Context) (bool, string, error) {
		network.Mend()
		n := network.Total(nil).Minus(before)
		return n.Lost > 0 && n.Duplicated > 0 && n.Delayed > 0,
			fmt.Sprintf("%d packets lost, %d doubled, %d late", n.Lost, n.Duplicated, n.Delayed), nil
	}
	return nil
}

// badLink is a link whose numbers are drawn up to what is bad.
func badLink(r *rand.Rand) netns.Link {
	return netns.Link{
		Loss: badLoss * (0.2 + 0.8*r.Float64()), Duplicate: badDuplicate * (0.2 + 0.8*r.Float64()),
		Delay:  time.Duration(r.Int64N(int64(badDelay))),
		Jitter: time.Millisecond + time.Duration(r.Int64N(int64(badJitter))),
	}
}
