package authz

import (
	"bytes"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// Target is what a request is about to touch, in keys of the tenant's own. The zero value is nothing.
type Target struct {
	kind       targetKind
	space      Space
	start, end []byte
}

type targetKind byte

const (
	targetPoint targetKind = iota + 1
	targetPrefix
	targetSpan
	targetFrom
	targetRouting
)

// Point is one key.
func Point(space Space, key []byte) Target {
	return Target{kind: targetPoint, space: space, start: key}
}

// Prefix is all keys of the space that start with prefix, which may be empty. For a stream: its encoded name, which
// must not be the prefix of another stream's.
func Prefix(space Space, prefix []byte) Target {
	return Target{kind: targetPrefix, space: space, start: prefix}
}

// Span is the keys in [start, end). When they are equal it is nothing.
func Span(space Space, start, end []byte) Target {
	return Target{kind: targetSpan, space: space, start: start, end: end}
}

// From is the keys from start, inclusive, to the end of the space.
func From(space Space, start []byte) Target {
	return Target{kind: targetFrom, space: space, start: start}
}

// All is all keys of the space.
func All(space Space) Target { return From(space, nil) }

// Routing is the keys in [start, end) in routing form: space byte, user key. Here an empty start is the tenant's first
// key and an empty end the end of the tenant. It is good for Locate only.
func Routing(start, end []byte) Target {
	return Target{kind: targetRouting, start: start, end: end}
}

// AuthorizedSpan is a span of replicated keys of one tenant, and what may be done to it. Only Authorize makes one that
// contains a key. The bytes that it hands out must not be changed.
type AuthorizedSpan struct {
	tenant     proto.TenantID
	start, end []byte
	actions    Action
	role       Role
}

// Authorize is the one constructor of an AuthorizedSpan. actions is all that the request does to the target; it must be
// within the method's row and not empty. Errors are *DeniedError and *rpcerr.InvalidArgumentError.
func Authorize(p Principal, method string, actions Action, t Target) (AuthorizedSpan, error) {
	r, err := check(p, method)
	if err != nil {
		return AuthorizedSpan{}, err
	}
	if actions == 0 || actions&^(r.actions&allData) != 0 || p.role&r.roles == 0 {
		return AuthorizedSpan{}, &DeniedError{method, "the method does not allow the action"}
	}
	if (t.kind == targetRouting) != (actions == Locate) {
		return AuthorizedSpan{}, &DeniedError{method, "the routing form is for Locate only"}
	}
	s := AuthorizedSpan{tenant: p.tenant, actions: actions, role: p.role}
	if err := s.bound(t); err != nil {
		return AuthorizedSpan{}, err
	}
	return s, nil
}

// bound sets start and end, both within the tenant's prefix (I2).
func (s *AuthorizedSpan) bound(t Target) error {
	if t.kind == targetRouting {
		return s.boundRouting(t)
	}
	if t.space != SpaceKeys && t.space != SpaceStreams && t.space != SpaceInternal {
		return rpcerr.Invalid("key", "unknown space")
	}
	if t.space == SpaceInternal && s.role != RoleSystem {
		return rpcerr.Invalid("key", "the internal space is not for clients")
	}
	buf := make([]byte, 0, prefixLength+len(t.start)+1)
	buf = appendKey(buf, s.tenant, t.space, t.start)
	s.start = buf[:len(buf):len(buf)]
	switch t.kind {
	case targetPoint:
		s.end = append(buf, 0)
	case targetPrefix:
		s.end = after(s.start)
	case targetSpan:
		if bytes.Compare(t.start, t.end) > 0 {
			return rpcerr.Invalid("end", "is before start")
		}
		s.end = Key(s.tenant, t.space, t.end)
	case targetFrom:
		s.end = Key(s.tenant, t.space+1, nil)
	default:
		return rpcerr.Invalid("key", "nothing is named")
	}
	return nil
}

func (s *AuthorizedSpan) boundRouting(t Target) error {
	first, last := TenantSpan(s.tenant)
	s.start, s.end = append(first, t.start...), last
	if len(t.end) > 0 {
		s.end = append(first[:tenantLength:tenantLength], t.end...)
	}
	if bytes.Compare(s.start, s.end) > 0 {
		return rpcerr.Invalid("end", "is before start")
	}
	return nil
}

// after is the first key that does not start with prefix. The prefix holds a space byte, which is below 0xff.
func after(prefix []byte) []byte {
	n := len(prefix)
	for prefix[n-1] == 0xff {
		n--
	}
	end := bytes.Clone(prefix[:n])
	end[n-1]++
	return end
}

// Tenant is whose keys these are.
func (s AuthorizedSpan) Tenant() proto.TenantID { return s.tenant }

// Role is that of the principal.
func (s AuthorizedSpan) Role() Role { return s.role }

// Actions is all that may be done.
func (s AuthorizedSpan) Actions() Action { return s.actions }

// Allows tells whether all of the actions may be done. The zero span allows nothing.
func (s AuthorizedSpan) Allows(a Action) bool { return a != 0 && a&^s.actions == 0 }

// Start is the first replicated key.
func (s AuthorizedSpan) Start() []byte { return s.start }

// End is the first replicated key behind the span. It is never empty, except in the zero span.
func (s AuthorizedSpan) End() []byte { return s.end }

// Point tells whether the span is one key, which is Start.
func (s AuthorizedSpan) Point() bool {
	n := len(s.start)
	return n > 0 && len(s.end) == n+1 && s.end[n] == 0 && bytes.Equal(s.start, s.end[:n])
}

// Contains tells whether a replicated key lies in the span.
func (s AuthorizedSpan) Contains(key []byte) bool {
	return bytes.Compare(s.start, key) <= 0 && bytes.Compare(key, s.end) < 0
}

// ContainsSpan tells whether [start, end) lies in the span. An empty end is the end of all keys, which lies in no span.
func (s AuthorizedSpan) ContainsSpan(start, end []byte) bool {
	return len(end) > 0 && s.Contains(start) &&
		bytes.Compare(end, s.end) <= 0 && bytes.Compare(start, end) <= 0
}
