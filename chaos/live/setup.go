package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// ownTenant makes the run's tenant, or finds the one that the plan names, and returns its credential.
func (r *run) ownTenant(ctx context.Context) (credential string, err error) {
	name := r.p.Tenant.Name
	if name != "" {
		t, err := r.admin.GetTenant(ctx, name)
		if err != nil {
			return "", fmt.Errorf("tenant %s: %w", name, err)
		}
		r.tenant = proto.TenantID(t.Id)
		r.fact("tenant", name)
		return r.p.Tenant.Credential, nil
	}
	name = "chaos-" + r.id
	t, credential, err := r.admin.CreateTenant(ctx, name)
	if err != nil {
		return "", fmt.Errorf("make the tenant %s: %w", name, err)
	}
	r.tenant = proto.TenantID(t.Id)
	r.fact("tenant", name)
	r.say("works in the tenant %s, made for this run; it stays when the run is over", name)
	return credential, nil
}

// probeKeys is how many keys are probed: one a range.
func (r *run) probeKeys() int { return max(1, r.p.Ranges) }

// split parts the run's own keys at each probe's key, so that each has a range of its own.
func (r *run) split(ctx context.Context) error {
	if r.p.Ranges < 0 {
		return nil
	}
	for _, k := range newProbe(r.prefix, r.p.Ranges).keys {
		if _, err := r.admin.SplitRange(ctx, mvcc.PlainKey(r.tenant, []byte(k))); err != nil {
			return fmt.Errorf("split the run's own keys: %w", err)
		}
	}
	return nil
}

// startLoad starts the workloads and the probes.
func (r *run) startLoad(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var all []workload.Workload
	for _, name := range r.p.Workloads {
		w, err := workload.New(name, workload.Options{Prefix: r.prefix + name + "/"})
		if err != nil {
			return &PlanError{err}
		}
		all = append(all, w)
	}
	stores, err := r.moreTenants(ctx, all)
	if err != nil {
		return err
	}
	r.work, err = load.Start(ctx, load.Config{
		Stores: stores, Workloads: all, Rate: r.p.Rate, Seed: r.p.Seed})
	if err != nil {
		return err
	}
	r.probes, err = load.Start(ctx, load.Config{Stores: stores, Seed: r.p.Seed,
		Workloads: []workload.Workload{newProbe(r.prefix, r.probeKeys())},
		Rate:      probeRate * float64(r.probeKeys()), Record: r.acks.note})
	if err != nil {
		r.work.Stop()
		return err
	}
	r.shift = r.work.Now() - r.probes.Now()
	r.own.sample = r.sampleKey
	return nil
}

// moreTenants makes the tenants that workloads name beside the run's own.
func (r *run) moreTenants(ctx context.Context, all []workload.Workload) (
	map[string]workload.Store, error,
) {
	stores := map[string]workload.Store{"": r.own.stores[0]}
	for _, w := range all {
		for _, name := range workload.Tenants(w) {
			if stores[name] != nil {
				continue
			}
			full := "chaos-" + r.id + "-" + name
			_, credential, err := r.admin.CreateTenant(ctx, full)
			if err != nil {
				return nil, fmt.Errorf("make the tenant %s: %w", full, err)
			}
			s, err := openStore(ctx, func(ctx context.Context) (*client.Client, error) {
				return r.c.dial(ctx, credential, callWithin)
			})
			if err != nil {
				return nil, err
			}
			r.own.stores = append(r.own.stores, s)
			stores[name] = s
			r.say("and in the tenant %s, made for the workload %s", full, w.Name())
		}
	}
	return stores, nil
}

// sampleKey draws one of the keys that single operations of the workloads have touched in the run's own tenant:
// workloads of several keys at once want theirs in one range.
func (r *run) sampleKey(rnd *rand.Rand) string {
	var keys []string
	for _, op := range r.work.Ops() {
		single := slices.Contains([]string{"register", "set", "counter", "monotonic"}, op.Workload)
		if single && op.Tenant == "" {
			keys = append(keys, op.Key)
		}
	}
	if len(keys) == 0 {
		return fmt.Sprintf("%s%04x", r.prefix, rnd.IntN(1<<16))
	}
	return keys[rnd.IntN(len(keys))]
}
