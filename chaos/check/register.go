package check

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vipkv/vipkv/chaos/history"
)

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

// Registers checks that the operations on each register are linearizable. It spends up to limit on a register. Keep a
// register's operations under 500, its clients under 6 and its operations of type info under 9: the search is
// exponential in what is open at the same time.
func Registers(ops []history.Op, limit time.Duration) error {
	byKey := map[string][]porcupine.Operation{}
	for i := range ops {
		if op, ok := registerOperation(&ops[i]); ok {
			byKey[ops[i].Key] = append(byKey[ops[i].Key], op)
		}
	}
	names := make([]string, 0, len(byKey))
	for k := range byKey {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		switch r := porcupine.CheckOperationsTimeout(registerModel(), byKey[k], limit); r {
		case porcupine.Ok:
		case porcupine.Illegal:
			return fmt.Errorf("register %s: %d operations are not linearizable", k, len(byKey[k]))
		default:
			return fmt.Errorf("register %s: %d operations were not decided in %v", k, len(byKey[k]), limit)
		}
	}
	return nil
}

// registerOperation leaves out what certainly had no effect and reads that saw nothing.
func registerOperation(o *history.Op) (porcupine.Operation, bool) {
	in := registerInput{o.Kind, o.Arg, o.Expect}
	op := porcupine.Operation{ClientId: o.Client, Input: in, Call: o.Invoke, Return: o.Return}
	switch {
	case o.Kind != history.Read && o.Kind != history.Write && o.Kind != history.CAS:
		return op, false
	case o.Type == history.Fail, o.Type == history.Info && o.Kind == history.Read:
		return op, false
	case o.Type == history.Info:
		op.Return = math.MaxInt64
		op.Output = registerOutput{unknown: true}
	default:
		op.Output = registerOutput{value: o.Result, swapped: o.Result == "true"}
	}
	return op, true
}
