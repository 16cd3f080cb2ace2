package check_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// newestOnly is a dump by somebody who can read no history.
func newestOnly(d check.Dump) check.Dump {
	d.Keys = slices.Clone(d.Keys)
	for i := range d.Keys {
		v := d.Keys[i].Versions
		d.Keys[i].Versions = v[len(v)-1:]
	}
	d.NewestOnly = true
	return d
}

// TestAuditOfCorrectStores: the final state agrees with the history, and resolves every unknown outcome so that all
// checkers still pass; porcupine then decides histories with any number of them.
func TestAuditOfCorrectStores(t *testing.T) {
	resolved, kept := 0, 0
	for seed := range uint64(worlds) {
		w := live(seed, 60, 4, 3, everything()...)
		d := w.dump()
		v, ops := check.Audit(w.ops, &d)
		if v.Outcome != check.Pass {
			t.Fatalf("seed %d: %v", seed, v.Err())
		}
		for i := range ops {
			if o := &ops[i]; o.Type == history.Info && o.Writes() {
				t.Fatalf("seed %d: not resolved: %v", seed, o)
			}
			if w.ops[i].Type == history.Info && ops[i].Type == history.OK {
				resolved++
			}
		}
		for _, c := range []check.Checker{check.NewRegisters(check.RegisterOptions{}), check.NewStreams(), check.NewSets(),
			check.NewCounter(), check.NewBank(check.BankOptions{}), check.NewCausalReverse(), check.NewMonotonic(),
			check.NewTimestamps(check.TimestampOptions{})} {
			if v := c.Check(ops); v.Outcome != check.Pass && v.Ops > 0 {
				t.Fatalf("seed %d, resolved: %v", seed, v.Err())
			}
		}
		d = newestOnly(d)
		v, ops = check.Audit(w.ops, &d)
		if v.Outcome != check.Pass {
			t.Fatalf("seed %d, newest only: %v", seed, v.Err())
		}
		for i := range ops {
			if ops[i].Type == history.Info {
				kept++
			}
		}
	}
	if resolved < worlds || kept < worlds {
		t.Fatalf("%d unknown outcomes were resolved, %d kept where versions are missing", resolved, kept)
	}
}

// TestAuditRefuses: a final state that differs from what was acknowledged in any way is refused under its name.
func TestAuditRefuses(t *testing.T) {
	key := func(d *check.Dump, r *rand.Rand, least int) *check.DumpKey {
		i := r.IntN(len(d.Keys))
		if k := &d.Keys[i]; len(k.Versions) >= least {
			return k
		}
		return nil
	}
	for name, c := range map[string]struct {
		kinds []string
		infos int
		want  string
		spoil func(d *check.Dump, r *rand.Rand) bool
	}{
		"a version is gone": {everything(), 0, "lost-write", func(d *check.Dump, r *rand.Rand) bool {
			k := key(d, r, 1)
			i := r.IntN(len(k.Versions))
			k.Versions = slices.Delete(k.Versions, i, i+1)
			return true
		}},
		"a value is another": {[]string{"register", "set", "counter"}, 0, "wrong-value",
			func(d *check.Dump, r *rand.Rand) bool {
				key(d, r, 1).Versions[0].Value = "another"
				return true
			}},
		"a version is another": {[]string{"register", "set"}, 0, "moved-write", func(d *check.Dump, r *rand.Rand) bool {
			key(d, r, 1).Versions[0].Version = 1
			return true
		}},
		"a write is there twice": {[]string{"register", "set"}, 0, "double-apply", func(d *check.Dump, r *rand.Rand) bool {
			k := key(d, r, 1)
			k.Versions = append(k.Versions, check.DumpVersion{Version: never, Value: k.Versions[0].Value})
			return true
		}},
		"a version of nobody is there": {everything(), 4, "phantom-version", func(d *check.Dump, r *rand.Rand) bool {
			k := key(d, r, 1)
			k.Versions = append(k.Versions, check.DumpVersion{Version: never, Value: "nobody's"})
			return true
		}},
		"half of a transaction of unknown outcome is there": {[]string{"bank"}, 3, "torn-transaction", nil},
		"a record is gone": {[]string{"stream"}, 0, "lost-write", func(d *check.Dump, r *rand.Rand) bool {
			s := &d.Streams[0]
			s.Versions = s.Versions[:len(s.Versions)-1]
			return true
		}},
		"two records are swapped": {[]string{"stream"}, 0, "wrong-number", func(d *check.Dump, r *rand.Rand) bool {
			s := d.Streams[0].Versions
			if len(s) > 1 {
				s[0], s[1] = s[1], s[0]
			}
			return len(s) > 1
		}},
		"a record is there twice": {[]string{"stream"}, 4, "double-apply", func(d *check.Dump, r *rand.Rand) bool {
			s := &d.Streams[0]
			s.Versions = append(s.Versions, s.Versions[0])
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			done := 0
			for seed := range uint64(spoiledWorlds) {
				w := live(seed, 60, 4, c.infos, c.kinds...)
				d, r := w.dump(), rand.New(rand.NewPCG(seed, 9))
				if c.spoil == nil {
					if !tear(w, &d) {
						continue
					}
				} else if !c.spoil(&d, r) {
					continue
				}
				done++
				v, _ := check.Audit(w.ops, &d)
				if !slices.ContainsFunc(v.Anomalies, func(a check.Anomaly) bool { return a.Name == c.want }) {
					t.Fatalf("seed %d: want %s, got %s: %s", seed, c.want, v.Outcome, v.Reason)
				}
			}
			if done < spoiledWorlds/4 {
				t.Fatalf("only %d states could be spoiled", done)
			}
		})
	}
}

// tear takes one side of a transfer of unknown outcome out of the final state.
func tear(w *world, d *check.Dump) bool {
	acked := map[uint64]bool{}
	for i := range w.ops {
		if w.ops[i].Type == history.OK && w.ops[i].Writes() {
			acked[w.ops[i].Version] = true
		}
	}
	for i := range d.Keys {
		k := &d.Keys[i]
		if last := k.Versions[len(k.Versions)-1]; !acked[last.Version] {
			k.Versions = k.Versions[:len(k.Versions)-1]
			return true
		}
	}
	return false
}

// TestRefusedWriteIsAudited: a write that was refused and is there nevertheless.
func TestRefusedWriteIsAudited(t *testing.T) {
	ops := []history.Op{{Client: 1, Kind: history.Write, Key: "a", Arg: "v", Return: 1, Type: history.Fail}}
	v, _ := check.Audit(ops, &check.Dump{Keys: []check.DumpKey{{Key: "a",
		Versions: []check.DumpVersion{{Version: 5, Value: "v"}}}}})
	if len(v.Anomalies) != 1 || v.Anomalies[0].Name != "refused-write" {
		t.Fatalf("%+v", v)
	}
}

// TestCollectedVersionsAreNotMissed: below the safe point only the newest version must be there.
func TestCollectedVersionsAreNotMissed(t *testing.T) {
	write := func(at int64, value string, version uint64) history.Op {
		return history.Op{Client: 1, Kind: history.Write, Key: "a", Arg: value, Invoke: at, Return: at + 1, Type: history.OK,
			Version: version}
	}
	ops := []history.Op{write(1, "x", 10), write(3, "y", 20), write(5, "z", 30)}
	keys := []check.DumpKey{{Key: "a", Versions: []check.DumpVersion{{Version: 20, Value: "y"}, {Version: 30, Value: "z"}}}}
	if v, _ := check.Audit(ops, &check.Dump{Keys: keys, SafePoint: 25}); v.Outcome != check.Pass {
		t.Error(v.Err())
	}
	for _, safe := range []uint64{0, 15} {
		if v, _ := check.Audit(ops, &check.Dump{Keys: keys, SafePoint: safe}); v.Outcome != check.Fail {
			t.Errorf("safe point %d: %s", safe, v.Outcome)
		}
	}
}
