package check

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vipkv/vipkv/chaos/history"
)

// RegisterOptions of NewRegisters. The zero value holds.
type RegisterOptions struct {
	// Limit is how long the search for one register may take. Default 20 s.
	Limit time.Duration
	// HTML is a directory in which each register that fails gets porcupine's picture, register-NAME.html. Empty: none.
	HTML string
}

// NewRegisters checks that reads, writes and compare-and-sets of each register are linearizable. Keep a register's
// operations under 500, its clients under 6 and its operations of type info under 9: the search is exponential in what
// is open at the same time. A key that transactions write, or that is added to, is no register and not judged.
//
// Anomalies: phantom-read (of what nobody wrote), refused-write (seen), future-read, lost-write (nothing is read where
// something was written), stale-read, wrong-cas, not-linearizable (a write completes the contradiction).
func NewRegisters(o RegisterOptions) Checker {
	if o.Limit == 0 {
		o.Limit = 20 * time.Second
	}
	return checker{"registers", func(ops []history.Op, f *findings) { checkRegisters(ops, f, o) }}
}

// Registers is NewRegisters for callers that want an error. No register is a pass.
func Registers(ops []history.Op, limit time.Duration) error {
	return passWhenEmpty(NewRegisters(RegisterOptions{Limit: limit}).Check(ops))
}

func passWhenEmpty(v Verdict) error {
	if v.Ops == 0 {
		return nil
	}
	return v.Err()
}

// ruling is what porcupine says of one register.
type ruling struct {
	result porcupine.CheckResult
	ops    []*history.Op // the fewest that are not linearizable
	err    error         // of the picture
}

func checkRegisters(ops []history.Op, f *findings, o RegisterOptions) {
	registers := group(ops, f, history.Read, history.Write, history.CAS)
	for i := range ops {
		if k := ops[i].Kind; k != history.Txn && k != history.Incr {
			continue
		}
		for _, w := range writesOf(&ops[i]) {
			f.ops -= len(registers[w.key])
			delete(registers, w.key)
		}
	}
	names := sorted(registers)
	rulings := make([]ruling, len(names))
	var wait sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, name := range names {
		free <- struct{}{}
		wait.Go(func() {
			rulings[i] = ruleRegister(name, registers[name], o)
			<-free
		})
	}
	wait.Wait()
	for i, name := range names {
		r := &rulings[i]
		switch r.result {
		case porcupine.Ok:
		case porcupine.Illegal:
			last := r.ops[len(r.ops)-1]
			kind, what := nameRegister(last, registers[name])
			f.found(kind, because(r.ops...),
				"Register %s: %s", name, what)
		default:
			f.giveUp("register %s: %d operations were not decided in %v",
				name, len(registers[name]), o.Limit)
		}
		if r.err != nil {
			f.giveUp("register %s: no picture: %v", name, r.err)
		}
	}
}

func ruleRegister(name space, ops []*history.Op, o RegisterOptions) (r ruling) {
	model := registerModel()
	searched := registerOperations(ops, math.MaxInt64)
	if o.HTML == "" {
		r.result = porcupine.CheckOperationsTimeout(model, searched, o.Limit)
	} else {
		var info porcupine.LinearizationInfo
		r.result, info = porcupine.CheckOperationsVerbose(model, searched, o.Limit)
		if r.result != porcupine.Ok {
			file := filepath.Join(o.HTML, "register-"+fileName(name)+".html")
			r.err = porcupine.VisualizePath(model, info, file)
		}
	}
	if r.result == porcupine.Illegal {
		r.ops = shrinkRegister(ops)
	}
	return r
}

func fileName(name space) string {
	s := strings.TrimPrefix(name.tenant+"-"+name.key, "-")
	return regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(s, "-")
}

// nameRegister names what is wrong, from the operation that completes the contradiction.
func nameRegister(last *history.Op, all []*history.Op) (name, what string) {
	if last.Kind != history.Read {
		if last.Kind == history.CAS {
			return "wrong-cas", "the outcome of a compare-and-set cannot be explained"
		}
		return "not-linearizable", "no order of these operations explains what they saw"
	}
	if last.Result == "" {
		return "lost-write", "a read saw nothing, although something had been written"
	}
	writer := slices.IndexFunc(all, func(o *history.Op) bool {
		return o.Kind != history.Read && o.Arg == last.Result
	})
	switch {
	case writer < 0:
		return "phantom-read", "a read saw what nobody wrote"
	case all[writer].Type == history.Fail:
		return "refused-write", "a read saw a write that had been refused"
	case unmatched(all[writer]):
		return "refused-write", "a read saw a compare-and-set that had not matched"
	case all[writer].Invoke > last.Return:
		return "future-read", "a read saw what was written only later"
	}
	return "stale-read", "a read saw a value that had been replaced"
}

type registerInput struct {
	kind        history.Kind
	arg, expect string
}

// registerOutput is what the client was told; unknown: nothing.
type registerOutput struct {
	unknown bool
	value   string // of a read
	swapped bool   // of a compare-and-set
}

func registerStep(state, input, output any) (bool, any) {
	s, in, out := state.(string), input.(registerInput), output.(registerOutput)
	switch in.kind {
	case history.Read:
		return out.value == s, s
	case history.Write:
		return true, in.arg
	case history.CAS:
		if out.unknown {
			if s == in.expect {
				return true, in.arg
			}
			return true, s
		}
		if out.swapped != (s == in.expect) {
			return false, s
		}
		if out.swapped {
			return true, in.arg
		}
		return true, s
	}
	return false, s
}

func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: registerStep,
		DescribeOperation: func(input, output any) string {
			in, out := input.(registerInput), output.(registerOutput)
			return fmt.Sprintf("%s(%s %s) -> %+v", in.kind, in.expect, in.arg, out)
		},
	}
}

// registerOperations are the operations as they were known at the moment until: what had not returned is open.
func registerOperations(ops []*history.Op, until int64) []porcupine.Operation {
	out := make([]porcupine.Operation, 0, len(ops))
	for _, o := range ops {
		if op, ok := registerOperation(o, until); ok {
			out = append(out, op)
		}
	}
	return out
}

// registerOperation leaves out what certainly had no effect and reads that saw nothing.
func registerOperation(o *history.Op, until int64) (porcupine.Operation, bool) {
	in := registerInput{o.Kind, o.Arg, o.Expect}
	op := porcupine.Operation{ClientId: o.Client, Input: in, Call: o.Invoke, Return: o.Return}
	open := o.Type == history.Info || o.Return > until
	switch {
	case o.Type == history.Fail, open && o.Kind == history.Read, o.Invoke > until:
		return op, false
	case open:
		op.Return = math.MaxInt64
		op.Output = registerOutput{unknown: true}
	default:
		op.Output = registerOutput{value: o.Result, swapped: o.Result == "true"}
	}
	return op, true
}
