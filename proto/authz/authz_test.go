package authz

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	_ "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func principal(t testing.TB, tenant proto.TenantID, role Role) Principal {
	t.Helper()
	p, err := NewPrincipal(tenant, role)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// methods lists the full names of all methods of the services in a package of protobuf.
func methods(pkg protoreflect.FullName) (names []string) {
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				names = append(names, "/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	return names
}

// Every method of every service for clients has a row; no method between nodes has one.
func TestEveryMethodHasARow(t *testing.T) {
	clients := methods("vipkv.v1")
	if len(clients) < 18 {
		t.Fatalf("%d methods only", len(clients))
	}
	for _, m := range clients {
		r, ok := ruleOf(m)
		if !ok || r.public || r.actions == 0 || r.roles != RoleTenant && r.roles != RoleAdmin {
			t.Errorf("%s: row %v %+v", m, ok, r)
		}
		if admin := strings.HasPrefix(m, "/vipkv.v1.Admin/"); admin != (r.roles == RoleAdmin) {
			t.Errorf("%s is for %s", m, r.roles)
		}
	}
	for _, m := range methods("grpc.health.v1") {
		if !Public(m) {
			t.Errorf("%s needs a credential", m)
		}
	}
	for _, m := range append(methods("grpc.reflection.v1"), methods("grpc.reflection.v1alpha")...) {
		if r, ok := ruleOf(m); !ok || r.public {
			t.Errorf("%s: row %v, public %v", m, ok, r.public)
		}
	}
	peers := methods("vipkv.node.v1")
	if len(peers) == 0 {
		t.Error("no methods between nodes are known")
	}
	for _, m := range peers {
		if _, ok := ruleOf(m); ok {
			t.Errorf("%s is between nodes and has a row", m)
		}
	}
}

// No row is left of a method that is gone.
func TestNoStaleRow(t *testing.T) {
	source, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, m := range append(methods("grpc.health.v1"),
		append(methods("grpc.reflection.v1"), methods("grpc.reflection.v1alpha")...)...) {
		known[m] = true
	}
	for _, m := range regexp.MustCompile(`"(/grpc[^"]*)"`).FindAllSubmatch(source, -1) {
		if !known[string(m[1])] {
			t.Errorf("%s is in no descriptor", m[1])
		}
	}
}

// The operations inside of a Commit are the ones that were thought of. Whoever adds a field that names a key, or an
// operation, authorises it and then adds it here.
func TestNestedOperations(t *testing.T) {
	for message, want := range map[protoreflect.ProtoMessage]string{
		&vipkvpb.CommitRequest{}:   "conditions mutations request_id",
		&vipkvpb.Condition{}:       "key version",
		&vipkvpb.Mutation{}:        "key value ttl_ms delete",
		&vipkvpb.BatchGetRequest{}: "keys at",
	} {
		d := message.ProtoReflect().Descriptor()
		var got []string
		for i := range d.Fields().Len() {
			got = append(got, string(d.Fields().Get(i).Name()))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has the fields %v, not %s", d.Name(), got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	tenant, admin, system := principal(t, 7, RoleTenant), principal(t, 0, RoleAdmin), principal(t, 0, RoleSystem)
	for _, c := range []struct {
		p      Principal
		method string
		want   string // empty: allowed
	}{
		{tenant, "/vipkv.v1.KV/Get", ""},
		{tenant, "/vipkv.v1.Streams/Append", ""},
		{tenant, "/vipkv.v1.Admin/CreateTenant", "admin credential"},
		{tenant, "/vipkv.v1.Admin/Status", "admin credential"},
		{tenant, SystemMethod, "not allowed"},
		{tenant, "/grpc.health.v1.Health/Check", ""},
		{admin, "/vipkv.v1.Admin/CreateTenant", ""},
		{admin, "/vipkv.v1.KV/Get", "no access to tenants' data"},
		{admin, SystemMethod, "not allowed"},
		{system, SystemMethod, ""},
		{system, "/vipkv.v1.KV/Get", "not allowed"},
		{system, "/vipkv.v1.Admin/Status", "not allowed"},
		{Principal{}, "/vipkv.v1.KV/Get", "nobody"},
		{Principal{}, "/grpc.health.v1.Health/Check", ""},
		{Principal{}, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "nobody"},
		{tenant, "vipkv.v1.KV/Get", "slash"},
		{tenant, "", "slash"},
		{tenant, "/", "no such method"},
		{tenant, "//vipkv.v1.KV/Get", "no such method"},
		{tenant, "/vipkv.v1.KV/Get/", "no such method"},
		{tenant, "/vipkv.v1.KV/get", "no such method"},
		{tenant, "/vipkv.v1.KV/Drop", "no such method"},
		{admin, "/vipkv.node.v1.Ranges/Execute", "no such method"},
	} {
		err := Check(c.p, c.method)
		if c.want == "" {
			if err != nil {
				t.Errorf("%v %s: %v", c.p, c.method, err)
			}
			continue
		}
		var denied *DeniedError
		if !errors.As(err, &denied) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %s: %v, want %q", c.p, c.method, err, c.want)
		}
		if code := status.Code(rpcerr.Encode(err)); code != codes.PermissionDenied {
			t.Errorf("%v %s: code %v", c.p, c.method, code)
		}
	}
}

func TestNewPrincipal(t *testing.T) {
	for _, c := range []struct {
		tenant proto.TenantID
		role   Role
		ok     bool
	}{
		{1, RoleTenant, true}, {MaxTenant, RoleTenant, true}, {0, RoleAdmin, true}, {0, RoleSystem, true},
		{0, RoleTenant, false}, {MaxTenant + 1, RoleTenant, false}, {1, RoleAdmin, false}, {1, RoleSystem, false},
		{1, 0, false}, {0, RoleAdmin | RoleSystem, false},
	} {
		p, err := NewPrincipal(c.tenant, c.role)
		if (err == nil) != c.ok || !c.ok && p != (Principal{}) {
			t.Errorf("%d %v: %v, %v", c.tenant, c.role, p, err)
		}
	}
	for s, want := range map[string]Role{"tenant": RoleTenant, "admin": RoleAdmin, "system": 0, "": 0, "Admin": 0} {
		if r, err := ParseRole(s); r != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v", s, r, err)
		}
	}
}

func TestAuthorize(t *testing.T) {
	p := principal(t, 0x01020304, RoleTenant)
	const get, scan, locate = "/vipkv.v1.KV/Get", "/vipkv.v1.KV/Scan", "/vipkv.v1.KV/Locate"
	for _, c := range []struct {
		what       string
		method     string
		actions    Action
		target     Target
		start, end string // behind the tenant's 4 bytes
	}{
		{"point", get, Get, Point(SpaceKeys, []byte("a")), "ka", "ka\x00"},
		{"empty key", get, Get, Point(SpaceKeys, nil), "k", "k\x00"},
		{"span", scan, Scan, Span(SpaceKeys, []byte("a"), []byte("b")), "ka", "kb"},
		{"empty span", scan, Scan, Span(SpaceKeys, []byte("a"), []byte("a")), "ka", "ka"},
		{"empty from both sides", scan, Scan, Span(SpaceKeys, nil, nil), "k", "k"},
		{"from", scan, Scan, From(SpaceKeys, []byte("a")), "ka", "l"},
		{"all", scan, Scan, All(SpaceKeys), "k", "l"},
		{"prefix", scan, Scan, Prefix(SpaceKeys, []byte("a\xff\xff")), "ka\xff\xff", "kb"},
		{"prefix of 0xfe", scan, Scan, Prefix(SpaceKeys, []byte("a\xfe")), "ka\xfe", "ka\xff"},
		{"prefix of 0xff", scan, Scan, Prefix(SpaceStreams, []byte("\xff\xff")), "s\xff\xff", "t"},
		{"routing", locate, Locate, Routing([]byte("kx"), []byte("sy")), "kx", "sy"},
		{"routing to", locate, Locate, Routing(nil, []byte("sy")), "", "sy"},
	} {
		s, err := Authorize(p, c.method, c.actions, c.target)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if string(s.Start()) != "\x01\x02\x03\x04"+c.start || string(s.End()) != "\x01\x02\x03\x04"+c.end {
			t.Errorf("%s: [%q, %q)", c.what, s.Start(), s.End())
		}
		if s.Tenant() != 0x01020304 || s.Role() != RoleTenant || s.Actions() != c.actions {
			t.Errorf("%s: %d %v %v", c.what, s.Tenant(), s.Role(), s.Actions())
		}
		if s.Point() != (c.method == get) {
			t.Errorf("%s: point %v", c.what, s.Point())
		}
	}
	s, err := Authorize(p, locate, Locate, Routing([]byte("k"), nil))
	if err != nil || string(s.End()) != "\x01\x02\x03\x05" {
		t.Errorf("routing to the end: %q, %v", s.End(), err)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	p, admin, system := principal(t, 7, RoleTenant), principal(t, 0, RoleAdmin), principal(t, 0, RoleSystem)
	point := Point(SpaceKeys, []byte("a"))
	for what, c := range map[string]struct {
		p       Principal
		method  string
		actions Action
		target  Target
	}{
		"put by get":             {p, "/vipkv.v1.KV/Get", Put, point},
		"put and get by get":     {p, "/vipkv.v1.KV/Get", Put | Get, point},
		"no action":              {p, "/vipkv.v1.KV/Get", 0, point},
		"nobody":                 {Principal{}, "/vipkv.v1.KV/Get", Get, point},
		"admin reads":            {admin, "/vipkv.v1.KV/Get", Get, point},
		"admin gets a span":      {admin, "/vipkv.v1.Admin/Status", Inspect, point},
		"public method":          {p, "/grpc.health.v1.Health/Check", Get, point},
		"reflection":             {p, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Get, point},
		"system":                 {p, SystemMethod, Get, point},
		"system by rpc":          {system, "/vipkv.v1.KV/Get", Get, point},
		"end before start":       {p, "/vipkv.v1.KV/Scan", Scan, Span(SpaceKeys, []byte("b"), []byte("a"))},
		"open end by empty key":  {p, "/vipkv.v1.KV/Scan", Scan, Span(SpaceKeys, []byte("b"), nil)},
		"no target":              {p, "/vipkv.v1.KV/Get", Get, Target{}},
		"internal space":         {p, "/vipkv.v1.KV/Get", Get, Point(SpaceInternal, nil)},
		"unknown space":          {p, "/vipkv.v1.KV/Get", Get, Point('x', nil)},
		"routing form for get":   {p, "/vipkv.v1.KV/Get", Get, Routing(nil, nil)},
		"plain form for routing": {p, "/vipkv.v1.KV/Locate", Locate, point},
		"routing backwards":      {p, "/vipkv.v1.KV/Locate", Locate, Routing([]byte("s"), []byte("k"))},
	} {
		s, err := Authorize(c.p, c.method, c.actions, c.target)
		var denied *DeniedError
		var invalid *rpcerr.InvalidArgumentError
		if !errors.As(err, &denied) && !errors.As(err, &invalid) {
			t.Errorf("%s: %v", what, err)
		}
		if s.Start() != nil || s.End() != nil || s.Allows(Get) || s.Contains([]byte("a")) {
			t.Errorf("%s: a span came back", what)
		}
	}
	s, err := Authorize(system, SystemMethod, Get|Put, Point(SpaceKeys, []byte("a")))
	if err != nil || string(s.Start()) != "\x00\x00\x00\x00ka" || !s.Allows(Put) || s.Allows(Delete) {
		t.Errorf("the system itself: %q, %v", s.Start(), err)
	}
}

func drawKey(t *rapid.T, name string) []byte {
	b := rapid.SampledFrom([]byte{0, 1, 'i', 'k', 's', 0xfe, 0xff})
	return rapid.SliceOfN(b, 0, 6).Draw(t, name)
}

func drawTenant(t *rapid.T) proto.TenantID {
	return proto.TenantID(rapid.OneOf(rapid.SampledFrom([]uint32{1, 0xff, 0xffff, uint32(MaxTenant)}),
		rapid.Uint32Range(1, uint32(MaxTenant))).Draw(t, "tenant"))
}

// Whatever bytes a tenant sends, no span reaches out of its prefix (I2), and a span holds what its target says.
func TestSpanStaysInTenant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tenant := drawTenant(t)
		p, err := NewPrincipal(tenant, RoleTenant)
		if err != nil {
			t.Fatal(err)
		}
		start, end := drawKey(t, "start"), drawKey(t, "end")
		space := Space(rapid.Byte().Draw(t, "space"))
		if rapid.Bool().Draw(t, "good space") {
			space = rapid.SampledFrom([]Space{SpaceKeys, SpaceStreams}).Draw(t, "space")
		}
		kind := rapid.IntRange(0, 4).Draw(t, "kind")
		target := []Target{
			Point(space, start), Prefix(space, start), Span(space, start, end), From(space, start),
			Routing(start, end),
		}[kind]
		method, action := "/vipkv.v1.KV/Scan", Scan
		if kind == 4 {
			method, action = "/vipkv.v1.KV/Locate", Locate
		}
		s, err := Authorize(p, method, action, target)
		if err != nil {
			return
		}
		first, last := TenantSpan(tenant)
		if bytes.Compare(s.Start(), first) < 0 || bytes.Compare(s.End(), last) > 0 ||
			bytes.Compare(s.Start(), s.End()) > 0 {
			t.Fatalf("[%x, %x) of tenant %d", s.Start(), s.End(), tenant)
		}
		key := drawKey(t, "key")
		model := []bool{
			bytes.Equal(key, start), bytes.HasPrefix(key, start),
			bytes.Compare(start, key) <= 0 && bytes.Compare(key, end) < 0, bytes.Compare(start, key) <= 0,
			bytes.Compare(start, key) <= 0 && (len(end) == 0 || bytes.Compare(key, end) < 0),
		}[kind]
		full := Key(tenant, space, key)
		if kind == 4 {
			full = append(first, key...)
		}
		if s.Contains(full) != model {
			t.Fatalf("key %x in [%x, %x): %v", full, s.Start(), s.End(), s.Contains(full))
		}
		if s.Contains(Key(tenant+1, space, key)) || s.Contains(Key(tenant-1, space, key)) {
			t.Fatal("it contains a key of another tenant")
		}
	})
}

// What a tenant sees of a range is the intersection with its own keys, in its own terms.
func TestClip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tenant := drawTenant(t)
		p, err := NewPrincipal(tenant, RoleTenant)
		if err != nil {
			t.Fatal(err)
		}
		bound := func(name string) []byte {
			near := uint32(tenant) + uint32(rapid.IntRange(-1, 1).Draw(t, name+" tenant"))
			b, _ := TenantSpan(proto.TenantID(near))
			b = append(b, drawKey(t, name)...)
			return b[:rapid.IntRange(0, len(b)).Draw(t, name+" length")]
		}
		start, end := bound("start"), bound("end")
		from, to, ok := p.Clip(start, end)
		first, _ := TenantSpan(tenant)
		key := drawKey(t, "key")
		full := append(first, key...)
		in := bytes.Compare(start, full) <= 0 && (len(end) == 0 || bytes.Compare(full, end) < 0)
		seen := ok && bytes.Compare(from, key) <= 0 && (len(to) == 0 || bytes.Compare(key, to) < 0)
		if in != seen {
			t.Fatalf("[%x, %x) of tenant %d: [%x, %x) %v; key %x is in it: %v, is seen: %v",
				start, end, tenant, from, to, ok, full, in, seen)
		}
	})
	if _, _, ok := (Principal{}).Clip(nil, nil); ok {
		t.Error("nobody sees something")
	}
}

func TestSplitKey(t *testing.T) {
	tenant, space, user, err := SplitKey(Key(7, SpaceStreams, []byte("a")))
	if err != nil || tenant != 7 || space != SpaceStreams || string(user) != "a" {
		t.Errorf("%d %c %q, %v", tenant, space, user, err)
	}
	for _, bad := range []string{"", "\x00\x00\x00\x07", "\x00\x00\x00\x07x"} {
		if _, _, _, err := SplitKey([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestContainsSpan(t *testing.T) {
	s, err := Authorize(principal(t, 7, RoleTenant), "/vipkv.v1.KV/Scan", Scan,
		Span(SpaceKeys, []byte("b"), []byte("d")))
	if err != nil {
		t.Fatal(err)
	}
	k := func(key string) []byte { return Key(7, SpaceKeys, []byte(key)) }
	for _, c := range []struct {
		start, end []byte
		want       bool
	}{
		{k("b"), k("d"), true}, {k("c"), k("c"), true}, {k("a"), k("c"), false}, {k("b"), k("d\x00"), false},
		{k("c"), nil, false}, {nil, k("c"), false}, {k("d"), k("d"), false}, {k("c"), k("b"), false},
	} {
		if got := s.ContainsSpan(c.start, c.end); got != c.want {
			t.Errorf("[%q, %q): %v", c.start, c.end, got)
		}
	}
}

func BenchmarkAuthorizePoint(b *testing.B) {
	p := principal(b, 7, RoleTenant)
	key := []byte("conversation/1234567890")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Authorize(p, "/vipkv.v1.KV/Get", Get, Point(SpaceKeys, key)); err != nil {
			b.Fatal(err)
		}
	}
}
