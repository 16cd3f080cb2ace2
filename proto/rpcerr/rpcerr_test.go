package rpcerr

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Every case of ErrorDetail survives the way over the wire, wrapped or not, with its fields.
func TestRoundTrip(t *testing.T) {
	kinds := (&vipkvpb.ErrorDetail{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		field := kinds.Get(i)
		d := &vipkvpb.ErrorDetail{}
		m := d.ProtoReflect().Mutable(field).Message()
		for j := range m.Descriptor().Fields().Len() {
			f := m.Descriptor().Fields().Get(j)
			switch {
			case f.IsList():
			case f.Kind() == protoreflect.StringKind:
				m.Set(f, protoreflect.ValueOfString("text"))
			case f.Kind() == protoreflect.Uint64Kind:
				m.Set(f, protoreflect.ValueOfUint64(7))
			}
		}
		err := fromDetail(d)
		if err == nil {
			t.Fatalf("%s is not in the table", field.Name())
		}
		got := Decode(Encode(fmt.Errorf("put: %w", err)))
		var e Error
		if !errors.As(got, &e) {
			t.Fatalf("%s: decoded to %T", field.Name(), got)
		}
		if fmt.Sprintf("%T", e) != fmt.Sprintf("%T", err) || !proto.Equal(e.Detail(), d) {
			t.Errorf("%s: got %T %v", field.Name(), e, e.Detail())
		}
		if e.Error() == "" {
			t.Errorf("%s: no text", field.Name())
		}
	}
}

func TestPlainErrorsPass(t *testing.T) {
	if Encode(nil) != nil || Decode(nil) != nil {
		t.Fatal("nil must stay nil")
	}
	plain := errors.New("x")
	if Decode(plain) != plain {
		t.Fatal("a plain error must pass Decode unchanged")
	}
}
