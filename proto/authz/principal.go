package authz

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
)

// Role is what a principal may do. The zero value may do nothing.
type Role byte

// The roles.
const (
	RoleTenant Role = 1 << iota // the data of its tenant
	RoleAdmin                   // the cluster, but no tenant's data
	RoleSystem                  // the data of tenant 0; the cluster's own code, never a credential
)

func (r Role) String() string {
	switch r {
	case RoleTenant:
		return "tenant"
	case RoleAdmin:
		return "admin"
	case RoleSystem:
		return "system"
	}
	return "none"
}

// ParseRole reads the role of a stored credential: "tenant" or "admin" (I5).
func ParseRole(s string) (Role, error) {
	switch s {
	case "tenant":
		return RoleTenant, nil
	case "admin":
		return RoleAdmin, nil
	}
	return 0, fmt.Errorf("unknown role %q of a credential", s)
}

// Principal is who acts: the outcome of authentication. The zero value is nobody.
type Principal struct {
	tenant proto.TenantID
	role   Role
}

// NewPrincipal is for those who authenticated it: kv/tenant from a credential, a node from a peer's request, the node
// itself for RoleSystem. RoleTenant needs a tenant other than 0; the other roles belong to tenant 0.
func NewPrincipal(tenant proto.TenantID, role Role) (Principal, error) {
	switch role {
	case RoleTenant:
		if tenant == proto.SystemTenant || tenant > MaxTenant {
			return Principal{}, fmt.Errorf("tenant %d can not have the role %s", tenant, role)
		}
	case RoleAdmin, RoleSystem:
		if tenant != proto.SystemTenant {
			return Principal{}, fmt.Errorf("tenant %d can not have the role %s", tenant, role)
		}
	default:
		return Principal{}, fmt.Errorf("unknown role %d", role)
	}
	return Principal{tenant: tenant, role: role}, nil
}

// Tenant is whose data the principal acts on; 0 for the roles of the cluster.
func (p Principal) Tenant() proto.TenantID { return p.tenant }

// Role is what the principal may do.
func (p Principal) Role() Role { return p.role }

func (p Principal) String() string { return fmt.Sprintf("%s of tenant %d", p.role, p.tenant) }

// DeniedError: the principal may not do it; nothing was done. It travels as PermissionDenied.
type DeniedError struct {
	Method string
	Reason string
}

func (e *DeniedError) Error() string { return fmt.Sprintf("%s: %s", e.Method, e.Reason) }

// GRPCStatus gives the error its code on the wire.
func (e *DeniedError) GRPCStatus() *status.Status {
	return status.New(codes.PermissionDenied, e.Error())
}
