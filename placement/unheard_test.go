package placement

import (
	"testing"

	"github.com/vipkv/vipkv/placement/schedule"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// A store that died together with the last driver was live to the new one for five seconds, led nothing, and so was
// handed leaderships for balance: each time a range took no writes for a second, again and again for half a minute.
func TestNewDriverHandsNothingToAStoreItHasNotHeard(t *testing.T) {
	m := func(store uint64, heard bool) *member {
		return &member{rec: &internalpb.NodeRecord{
			Node: &internalpb.NodeInfo{NodeId: store}, StoreId: store,
		}, heard: heard, state: schedule.Live}
	}
	a := &activation{ranges: newRangeMap(), members: []*member{m(1, false), m(2, true)}}
	c := a.cluster(nil)
	if c.Stores[0].State != schedule.Unreachable || c.Stores[1].State != schedule.Live {
		t.Errorf("not heard: %v, heard: %v", c.Stores[0].State, c.Stores[1].State)
	}
}
