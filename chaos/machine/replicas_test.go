//go:build linux

package machine_test

import (
	"path/filepath"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/chaos/machine"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// store makes a store with one range, which has applied so much and holds one value.
func store(t *testing.T, dir string, applied uint64, value string) string {
	t.Helper()
	e, err := engine.OpenPebble(dir, engine.Options{})
	must(t, err)
	state, err := gproto.Marshal(&internalpb.RangeState{
		Desc:         &internalpb.Descriptor{RangeId: 7, Start: []byte("a"), End: []byte("m")},
		AppliedIndex: applied, ReplicaId: uint64(len(dir)),
	})
	must(t, err)
	var b storage.Batch
	b.Set(keys.Local(7, keys.KindApplied), state)
	b.Set(keys.Version([]byte("b"), proto.Timestamp(5)), []byte(value))
	b.Set(keys.Version([]byte("z"), proto.Timestamp(5)), []byte(dir)) // of no range
	must(t, e.Commit(&b, true))
	must(t, e.Close())
	return dir
}

func TestCompareReplicas(t *testing.T) {
	for _, row := range []struct {
		name     string
		applied  [3]uint64
		values   [3]string
		compared int
		differs  string
	}{
		{"equal", [3]uint64{4, 4, 4}, [3]string{"v", "v", "v"}, 3, ""},
		{"one has another value", [3]uint64{4, 4, 4}, [3]string{"v", "v", "w"}, 3, "range 7 at index 4"},
		{"one is behind", [3]uint64{4, 3, 4}, [3]string{"v", "u", "v"}, 2, ""},
		{"none can be compared", [3]uint64{4, 3, 2}, [3]string{"v", "u", "t"}, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var dirs []string
			for i, name := range []string{"x", "xx", "xxx"} {
				dir := filepath.Join(t.TempDir(), name)
				dirs = append(dirs, store(t, dir, row.applied[i], row.values[i]))
			}
			c, err := machine.CompareReplicas(dirs)
			must(t, err)
			if c.Ranges != 1 || c.Replicas != row.compared || c.Bit() != (row.compared > 0) {
				t.Errorf("compared %v", c)
			}
			if got := strings.Join(c.Differences, "\n"); (row.differs == "") != (got == "") ||
				!strings.Contains(got, row.differs) {
				t.Errorf("differences: %q, want %q", got, row.differs)
			}
		})
	}
}
