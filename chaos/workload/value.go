package workload

import (
	"strings"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/kv/client"
)

// mark is how a value lies in the store.
func mark(op *history.Op, value string) []byte {
	if op.Tenant == "" {
		return []byte(value)
	}
	return []byte(check.CanaryValue(op.Tenant, value))
}

// open takes the tenant's own canary off; what has none, or another one, stays as it is.
func open(op *history.Op, value []byte) string {
	if op.Tenant == "" || len(value) == 0 {
		return string(value)
	}
	return strings.TrimPrefix(string(value), check.CanaryValue(op.Tenant, ""))
}

// body is that of the record with a client's id.
func body(id string) string { return "message " + id }

// recordID is the client's id of a record, or the body when it is not the one that was sent under the id.
func recordID(op *history.Op, r *client.Record) string {
	if got := open(op, r.Body); got != body(r.ClientID) {
		return "record " + r.ClientID + " with the body " + got
	}
	return r.ClientID
}

// element is that of a set, or key and value when they do not belong together.
func element(op *history.Op, prefix []byte, i *client.Item) string {
	value := open(op, i.Value)
	if name := strings.TrimPrefix(string(i.Key), string(prefix)); name != value {
		return "key " + name + " with the value " + value
	}
	return value
}
