package workloadtest

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/workload"
)

// Faults are the shares, from 0 to 1, of the calls that they befall. The first three are honest.
type Faults struct {
	// LostAnswer carries a write out and says that its outcome is not known.
	LostAnswer float64
	// Late says that a write's outcome is not known, and carries it out afterwards, if its conditions hold then.
	Late float64
	// Refused fails a call, without effect.
	Refused float64

	// Lost acknowledges a write and does not carry it out.
	Lost float64
	// Denied carries a write out and says that it failed.
	Denied float64
	// Twice carries a write out once more, a while later, whatever its conditions.
	Twice float64
	// Stale answers a read from the state of a while ago.
	Stale float64
	// Torn answers a read of several keys with each as of a moment of its own, and carries out a part of a transaction.
	Torn float64
	// Unchecked carries a write out although its condition does not hold.
	Unchecked float64
	// Foreign answers a read in another tenant's space.
	Foreign float64
	// Swapped gives a record the place of the one before it.
	Swapped float64
	// Immortal shows a value after its time to live.
	Immortal float64
	// Forgetful appends a record again whose id is there.
	Forgetful float64
	// Garbled changes a byte of a value that is read.
	Garbled float64
}

// What calls take, and how far faults reach.
const (
	callMax   = 4 * time.Millisecond
	lateMax   = 2 * time.Second
	staleBack = 500 * time.Millisecond
)

// Cluster is the store of all tenants. Stores of it are safe for concurrent use.
type Cluster struct {
	mu      sync.Mutex
	faults  Faults
	r       *rand.Rand
	last    uint64 // timestamp
	tenants map[string]*tenant
	order   []string
	behind  sync.WaitGroup
}

// New makes an empty cluster. What it draws comes from seed; what clients see depends on the order of their calls, too.
func New(f Faults, seed uint64) *Cluster {
	return &Cluster{faults: f, r: rand.New(rand.NewPCG(seed, 1)), tenants: map[string]*tenant{}}
}

// Tenant is the store of a tenant, which it makes.
func (c *Cluster) Tenant(name string) workload.Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tenants[name] == nil {
		c.tenants[name] = &tenant{
			c: c, name: name, keys: map[string][]version{}, streams: map[string]*stream{},
		}
		c.order = append(c.order, name)
	}
	return c.tenants[name]
}

// Settle waits for what is still to be carried out.
func (c *Cluster) Settle() { c.behind.Wait() }

// nextLocked is a new timestamp: milliseconds, then 18 bits that count.
func (c *Cluster) nextLocked() uint64 {
	c.last = max(c.last+1, uint64(time.Now().UnixMilli())<<logicalBits)
	return c.last
}

const logicalBits = 18

func millisOf(ts uint64) int64 { return int64(ts >> logicalBits) }

func (c *Cluster) hitLocked(share float64) bool { return share > 0 && c.r.Float64() < share }

// hit draws whether a fault befalls a call.
func (c *Cluster) hit(share float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hitLocked(share)
}

// travel takes the time of one way.
func (c *Cluster) travel() { time.Sleep(c.between(callMax)) }

func (c *Cluster) between(most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.r.Int64N(int64(most)))
}

// later carries f out after a while.
func (c *Cluster) later(f func()) {
	d := c.between(lateMax)
	c.behind.Go(func() {
		time.Sleep(d)
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	})
}

// otherLocked is another tenant, if there is one.
func (c *Cluster) otherLocked(t *tenant) *tenant {
	if len(c.order) < 2 {
		return t
	}
	for {
		if o := c.tenants[c.order[c.r.IntN(len(c.order))]]; o != t {
			return o
		}
	}
}
