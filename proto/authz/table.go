package authz

import vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"

// Action is a set of things that a request does to its keys.
type Action uint16

// The actions. Reading through a condition, or by the answer to a failed write, is Get.
const (
	Get Action = 1 << iota
	Scan
	Put
	Delete
	Append
	Truncate
	Locate  // learn which nodes serve the keys
	Inspect // read the cluster's state
	Manage  // change the cluster's state
)

const allData = Get | Scan | Put | Delete | Append | Truncate | Locate

// SystemMethod stands for the cluster's own access to tenant 0, which comes through no RPC.
const SystemMethod = "/system"

// rule is a row of the table.
type rule struct {
	public  bool   // needs no credential
	roles   Role   // who may call it
	actions Action // all that it may do
}

// ruleOf is the table: every method of the services for clients, and what is served beside them. A method that is not
// here is denied (I1). Methods between nodes have another port and are not here.
func ruleOf(method string) (rule, bool) {
	tenant := func(a Action) (rule, bool) { return rule{roles: RoleTenant, actions: a}, true }
	admin := func(a Action) (rule, bool) { return rule{roles: RoleAdmin, actions: a}, true }
	switch method {
	case vipkvpb.KV_Get_FullMethodName, vipkvpb.KV_BatchGet_FullMethodName:
		return tenant(Get)
	case vipkvpb.KV_Scan_FullMethodName:
		return tenant(Scan)
	case vipkvpb.KV_Put_FullMethodName:
		return tenant(Put | Get)
	case vipkvpb.KV_Delete_FullMethodName:
		return tenant(Delete | Get)
	case vipkvpb.KV_Commit_FullMethodName:
		return tenant(Put | Delete | Get)
	case vipkvpb.KV_Locate_FullMethodName:
		return tenant(Locate)

	case vipkvpb.Streams_Append_FullMethodName:
		return tenant(Append | Get)
	case vipkvpb.Streams_Read_FullMethodName, vipkvpb.Streams_Head_FullMethodName:
		return tenant(Get)
	case vipkvpb.Streams_Truncate_FullMethodName:
		return tenant(Truncate | Get)

	case vipkvpb.Admin_CreateTenant_FullMethodName, vipkvpb.Admin_CreateCredential_FullMethodName,
		vipkvpb.Admin_TransferLeader_FullMethodName, vipkvpb.Admin_SplitRange_FullMethodName:
		return admin(Manage)
	case vipkvpb.Admin_GetTenant_FullMethodName, vipkvpb.Admin_ListTenants_FullMethodName,
		vipkvpb.Admin_ListNodes_FullMethodName, vipkvpb.Admin_ListRanges_FullMethodName,
		vipkvpb.Admin_Status_FullMethodName:
		return admin(Inspect)

	case "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch":
		return rule{public: true}, true
	case "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo":
		return rule{roles: RoleTenant | RoleAdmin}, true

	case SystemMethod:
		return rule{roles: RoleSystem, actions: allData}, true
	}
	return rule{}, false
}

// Public tells whether a method may be called without a credential.
func Public(method string) bool {
	r, ok := ruleOf(method)
	return ok && r.public
}

// Check tells whether the principal may call the method at all. The error is a *DeniedError. It is the whole answer for
// methods that touch no keys of a tenant; for others Authorize follows.
func Check(p Principal, method string) error {
	_, err := check(p, method)
	return err
}

func check(p Principal, method string) (rule, error) {
	if len(method) == 0 || method[0] != '/' {
		return rule{}, &DeniedError{Method: method, Reason: "a method starts with a slash"}
	}
	r, ok := ruleOf(method)
	if !ok {
		return rule{}, &DeniedError{Method: method, Reason: "no such method"}
	}
	if r.public || p.role&r.roles != 0 {
		return r, nil
	}
	switch {
	case p.role == 0:
		return rule{}, &DeniedError{Method: method, Reason: "nobody is authenticated"}
	case p.role == RoleAdmin && r.roles == RoleTenant:
		return rule{}, &DeniedError{Method: method,
			Reason: "the admin credential has no access to tenants' data; use a credential of the tenant"}
	case p.role == RoleTenant && r.roles == RoleAdmin:
		return rule{}, &DeniedError{Method: method, Reason: "this needs the admin credential"}
	}
	return rule{}, &DeniedError{Method: method, Reason: "not allowed for the role " + p.role.String()}
}
