package check

import (
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewTenants checks that no operation of a tenant is told anything that carries another tenant's canary, errors
// included. A history in which fewer than two tenants were told a value is void. Workloads mark what they store with
// canaries and take a tenant's own off again, so a value without one counts.
//
// Anomaly: foreign-value.
func NewTenants() Checker {
	return checker{"tenants", func(ops []history.Op, f *findings) {
		heard := map[string]bool{} // tenants that were told something
		for i := range ops {
			o := &ops[i]
			f.saw(o)
			for _, text := range told(o) {
				for _, t := range canaries(text) {
					if t != o.Tenant {
						f.found("foreign-value", because(o),
							"Tenant %s was told a value of tenant %s", o.Tenant, t)
					}
				}
				heard[o.Tenant] = heard[o.Tenant] || text != "" && o.Type == history.OK
			}
		}
		n := 0
		for _, ok := range heard {
			if ok {
				n++
			}
		}
		if n < 2 {
			f.tooLittle("%d tenants were told values: two are needed", n)
		}
	}}
}

// told is all text that came back to the client.
func told(o *history.Op) []string {
	out := append([]string{o.Result, o.Err}, o.List...)
	if o.Kind == history.CAS {
		out = append(out, o.Expect) // it was read
	}
	for i := range o.Txn {
		m := &o.Txn[i]
		out = append(out, m.Result)
		out = append(out, m.List...)
	}
	return out
}

// canaries are the tenants whose canaries are in a text.
func canaries(text string) (tenants []string) {
	for {
		i := strings.Index(text, canaryMark)
		if i < 0 {
			return tenants
		}
		if t, ok := CanaryTenant(text); ok && strings.HasPrefix(text[i:], CanaryValue(t, "")) {
			tenants = append(tenants, t)
		}
		text = text[i+len(canaryMark):]
	}
}
