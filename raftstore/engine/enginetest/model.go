package enginetest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// KV is a key and its value.
type KV struct{ Key, Value []byte }

// Model is the dumbest engine: a sorted list.
type Model []KV

func (m Model) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m, key, func(kv KV, k []byte) int { return keys.Compare(kv.Key, k) })
}

// Apply returns the model after b. It does not change m.
func (m Model) Apply(b *storage.Batch) Model {
	m = slices.Clone(m)
	for r := b.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil {
			panic(err)
		}
		if !ok {
			return m
		}
		i, found := m.find(op.Key)
		switch op.Kind {
		case storage.OpSet:
			kv := KV{slices.Clone(op.Key), append([]byte{}, op.Value...)}
			if found {
				m[i] = kv
			} else {
				m = slices.Insert(m, i, kv)
			}
		case storage.OpDelete:
			if found {
				m = slices.Delete(m, i, i+1)
			}
		case storage.OpDeleteRange:
			if j, _ := m.find(op.Value); j > i {
				m = slices.Delete(m, i, j)
			}
		}
	}
}

// Range is the part of m in [lower, upper); nil is open.
func (m Model) Range(lower, upper []byte) Model {
	i, j := 0, len(m)
	if lower != nil {
		i, _ = m.find(lower)
	}
	if upper != nil {
		j, _ = m.find(upper)
	}
	return m[i:max(i, j)]
}

// Diff says how r differs from m, or "".
func (m Model) Diff(r storage.Reader) (string, error) {
	it, err := r.NewIter(storage.IterOptions{})
	if err != nil {
		return "", err
	}
	diff := m.diffIter(it)
	if err := it.Close(); err != nil {
		return "", err
	}
	return diff, nil
}

func (m Model) diffIter(it storage.Iter) string {
	ok := it.SeekGE(nil)
	for i, want := range m {
		if !ok {
			return fmt.Sprintf("item %d: none, want %x", i, want.Key)
		}
		k, v := it.Item()
		if !bytes.Equal(k, want.Key) || !bytes.Equal(v, want.Value) {
			return fmt.Sprintf("item %d: %x=%q, want %x=%q", i, k, v, want.Key, want.Value)
		}
		ok = it.Next()
	}
	if ok {
		k, _ := it.Item()
		return fmt.Sprintf("one more: %x", k)
	}
	return ""
}

// History is the states that an engine went through and how many of them are durable.
type History struct {
	States  []Model // States[0] is the state when it was opened
	Durable int     // index of the newest durable state
}

// Add appends the next state.
func (h *History) Add(m Model, durable bool) {
	h.States = append(h.States, m)
	if durable {
		h.Durable = len(h.States) - 1
	}
}

// Now is the newest state.
func (h *History) Now() Model {
	if len(h.States) == 0 {
		return nil
	}
	return h.States[len(h.States)-1]
}

// Survivor returns the newest state that r shows and that a crash may leave: the durable one or a later one.
func (h *History) Survivor(r storage.Reader) (Model, error) {
	if len(h.States) == 0 {
		h.States = []Model{nil}
	}
	var why string
	for i := len(h.States) - 1; i >= h.Durable; i-- {
		diff, err := h.States[i].Diff(r)
		if err != nil {
			return nil, err
		}
		if diff == "" {
			return h.States[i], nil
		}
		why = diff
	}
	return nil, fmt.Errorf("state after a crash is no prefix that holds all %d durable steps: against these: %s",
		h.Durable, why)
}
