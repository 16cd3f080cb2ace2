package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/engine/enginetest"
)

// TestStories tells each story to both engines: they answer the same.
func TestStories(t *testing.T) {
	for _, c := range []struct {
		name string
		open func() (*enginetest.Harness, error)
	}{{"pebble", openPebble}, {"mem", openMem}} {
		datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
			t.Run(c.name, func(t *testing.T) {
				h, err := c.open()
				if err != nil {
					t.Fatal(err)
				}
				n := narrator{h: h, views: map[string]storage.View{}}
				datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
					out, err := n.tell(d)
					if errors.Is(err, engine.ErrBadIngest) {
						return "bad ingest\n"
					}
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					return out
				})
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

type narrator struct {
	h     *enginetest.Harness
	views map[string]storage.View
}

func (n *narrator) tell(d *datadriven.TestData) (string, error) {
	switch d.Cmd {
	case "commit":
		b, _, err := writes(d.Input)
		return "", errors.Join(err, n.h.Engine.Commit(b, d.HasArg("sync")))
	case "ingest":
		b, table, err := writes(d.Input)
		span := engine.Span{Start: parseKey(d.CmdArgs[0].Key), End: parseKey(d.CmdArgs[1].Key)}
		return "", errors.Join(err, n.h.Ingest(span, table, b))
	case "view":
		n.views[d.CmdArgs[0].Key] = n.h.Engine.NewView()
		return "", nil
	case "close":
		return "", n.views[d.CmdArgs[0].Key].Close()
	case "crash":
		return "", n.h.Crash(0)
	case "churn":
		return "", n.h.Churn()
	case "scan":
		return n.scan(d)
	}
	return "", fmt.Errorf("no command %s", d.Cmd)
}

func (n *narrator) scan(d *datadriven.TestData) (string, error) {
	r := storage.Reader(n.h.Engine)
	var bounds [][]byte
	reverse := false
	for _, a := range d.CmdArgs {
		switch {
		case a.Key == "view":
			r = n.views[a.Vals[0]]
		case a.Key == "reverse":
			reverse = true
		default:
			bounds = append(bounds, parseKey(a.Key))
		}
	}
	var o storage.IterOptions
	if len(bounds) == 2 {
		o.Lower, o.Upper = bounds[0], bounds[1]
	}
	it, err := r.NewIter(o)
	if err != nil {
		return "", err
	}
	var lines []string
	move := it.Next
	ok := false
	if reverse {
		ok, move = it.SeekLT([]byte{0xff, 0}), it.Prev
	} else {
		ok = it.SeekGE(nil)
	}
	for ; ok; ok = move() {
		k, v := it.Item()
		lines = append(lines, showKey(k)+" "+string(v)+"\n")
	}
	return strings.Join(lines, ""), it.Close()
}

// writes parses lines: set k v, delete k, delrange k k, table k v.
func writes(text string) (*storage.Batch, []enginetest.KV, error) {
	var b storage.Batch
	var table []enginetest.KV
	for line := range strings.Lines(text) {
		f := append(strings.Fields(line), "", "")
		switch f[0] {
		case "set":
			b.Set(parseKey(f[1]), []byte(f[2]))
		case "delete":
			b.Delete(parseKey(f[1]))
		case "delrange":
			b.DeleteRange(parseKey(f[1]), parseKey(f[2]))
		case "table":
			table = append(table, enginetest.KV{Key: parseKey(f[1]), Value: []byte(f[2])})
		default:
			return nil, nil, fmt.Errorf("no write %q", line)
		}
	}
	slices.SortFunc(table, func(a, b enginetest.KV) int { return keys.Compare(a.Key, b.Key) })
	return &b, table, nil
}

// parseKey reads log/RANGE/INDEX, local/RANGE/KIND, KEY or KEY@TS.
func parseKey(s string) []byte {
	f := append(strings.Split(s, "/"), "", "")
	id, _ := strconv.ParseUint(f[1], 10, 64)
	switch f[0] {
	case "log":
		index, _ := strconv.ParseUint(f[2], 10, 64)
		return keys.LogEntry(proto.RangeID(id), index)
	case "local":
		return keys.Local(proto.RangeID(id), f[2][0])
	}
	if k, at, ok := strings.Cut(s, "@"); ok {
		ts, _ := strconv.ParseUint(at, 10, 64)
		return keys.Version([]byte(k), proto.Timestamp(ts))
	}
	return keys.Data([]byte(s))
}

func showKey(k []byte) string {
	if user, ts, err := keys.ParseData(k); err == nil {
		if ts == 0 {
			return string(user)
		}
		return fmt.Sprintf("%s@%d", user, uint64(ts))
	}
	id, kind, err := keys.ParseLocal(k)
	if err != nil {
		return fmt.Sprintf("%x", k)
	}
	if index, err := keys.LogIndex(k); err == nil {
		return fmt.Sprintf("log/%d/%d", id, index)
	}
	return fmt.Sprintf("local/%d/%c", id, kind)
}
