package workload

import (
	"fmt"
	"strings"
)

// Options of a workload. The zero value is good.
type Options struct {
	// Prefix begins the names of all keys and streams, and all values: two workloads of one name in one tenant need two.
	Prefix string
	// Clients is how many clients there are. 0: as many as the workload likes.
	Clients int
	// Tenant is what operations name, so that all values carry its canary. Empty: none, and values are plain.
	Tenant string
	// Tenants are those in which canary and messenger work. Empty: "a" and "b" for canary, Tenant for messenger.
	Tenants []string
	// KeyOps is how many operations a key sees before another takes its place; 0: the workload's own number. More make
	// longer streams and lists, and dearer checks.
	KeyOps int
}

// keyOps is KeyOps, or what the workload likes.
func (o Options) keyOps(otherwise int) int {
	if o.KeyOps != 0 {
		return o.KeyOps
	}
	return otherwise
}

// Tenants are those that the operations of a workload name, in order; "" is the one without a name.
func Tenants(w Workload) []string {
	if t, ok := w.(interface{ tenants() []string }); ok {
		return t.tenants()
	}
	return []string{""}
}

type maker struct {
	name string
	make func(Options) Workload
}

func makers() []maker {
	return []maker{
		{"bank", newBank},
		{"canary", newCanary},
		{"counter", newCounter},
		{"fork", newFork},
		{"list-append", newList},
		{"messenger", newMessenger},
		{"monotonic", newMonotonic},
		{"register", newRegister},
		{"set", newSet},
		{"streams", newStreams},
	}
}

// Names lists the workloads.
func Names() (names []string) {
	for _, m := range makers() {
		names = append(names, m.name)
	}
	return names
}

// New makes the workload of a name.
func New(name string, o Options) (Workload, error) {
	if strings.ContainsAny(o.Prefix, " \n") || o.Clients < 0 || o.KeyOps < 0 {
		return nil, fmt.Errorf("workload %s: a prefix with spaces, or a negative number", name)
	}
	for _, m := range makers() {
		if m.name == name {
			return m.make(o), nil
		}
	}
	return nil, fmt.Errorf("no workload %q; there are %s", name, strings.Join(Names(), ", "))
}

// NewAll makes the workloads of some names, of all when there are none.
func NewAll(names []string, o Options) ([]Workload, error) {
	if len(names) == 0 {
		names = Names()
	}
	all := make([]Workload, len(names))
	for i, n := range names {
		w, err := New(n, o)
		if err != nil {
			return nil, err
		}
		all[i] = w
	}
	return all, nil
}
