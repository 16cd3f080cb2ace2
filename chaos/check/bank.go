package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// BankOptions of NewBank.
type BankOptions struct {
	// Opening is the sum of all balances before the first operation, when the accounts were filled outside of the
	// history. A transaction whose steps do not add up to nothing, and a write, are deposits, and counted.
	Opening int64
}

// NewBank checks transfers between accounts: each transaction that reads all accounts sees a total to which the
// deposits add up, and nobody sees a balance below zero. An account is a key to which a transaction adds (PartIncr); a
// read of other keys too is judged by its accounts. A bank that nobody read as a whole is void.
//
// Anomalies: total-changed, negative-balance, not-a-number.
func NewBank(o BankOptions) Checker {
	return checker{"bank", func(ops []history.Op, f *findings) {
		byTenant := map[space][]*history.Op{}
		for i := range ops {
			if k := ops[i].Kind; k == history.Txn || k == history.Write {
				t := space{tenant: ops[i].Tenant}
				byTenant[t] = append(byTenant[t], &ops[i])
			}
		}
		for _, t := range sorted(byTenant) {
			checkBank(byTenant[t], f, o)
		}
	}}
}

func checkBank(ops []*history.Op, f *findings, o BankOptions) {
	accounts := map[string]bool{}
	for _, op := range ops {
		for i := range op.Txn {
			if op.Txn[i].Part == history.PartIncr {
				accounts[op.Txn[i].Key] = true
			}
		}
	}
	if len(accounts) == 0 {
		return
	}
	var deposits tally
	for _, op := range ops {
		amount, about, err := deposit(op, accounts)
		if err != nil {
			f.found("not-a-number", because(op),
				"A deposit is no number: %v", err)
			return
		}
		if about {
			f.saw(op)
			deposits.add(op, amount)
		}
	}
	deposits.sort()
	var good *history.Op
	whole := 0
	for _, op := range ops {
		if op.Type != history.OK || op.Kind != history.Txn {
			continue
		}
		total, all := checkBalances(op, accounts, f)
		if !all {
			continue
		}
		whole++
		low, high := deposits.bounds(op)
		if low, high = low+o.Opening, high+o.Opening; total < low || total > high {
			f.found("total-changed", because(good, op),
				"All accounts together hold %d, and it must be %s%s",
				total, span(low, high), torn(op, ops, total, low))
			continue
		}
		good = op
	}
	if whole == 0 {
		names := slices.Sorted(maps.Keys(accounts))
		f.tooLittle("nobody read all accounts: %s", strings.Join(names, ", "))
	}
}

func span(low, high int64) string {
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("between %d and %d", low, high)
}

// deposit is what an operation adds to all accounts together.
func deposit(o *history.Op, accounts map[string]bool) (amount int64, about bool, err error) {
	sum := func(key, value string) {
		if !accounts[key] || err != nil {
			return
		}
		about = true
		var n int64
		if n, err = strconv.ParseInt(value, 10, 64); err == nil {
			amount += n
		}
	}
	if o.Kind == history.Write {
		sum(o.Key, o.Arg)
		return amount, about, err
	}
	for i := range o.Txn {
		m := &o.Txn[i]
		switch m.Part {
		case history.PartRead:
			about = about || accounts[m.Key]
		case history.PartWrite, history.PartIncr:
			sum(m.Key, m.Value)
		}
	}
	return amount, about, err
}

// checkBalances judges each balance that a transaction was told, and adds up those it only read.
func checkBalances(o *history.Op, accounts map[string]bool, f *findings) (total int64, all bool) {
	read := map[string]bool{}
	moved := false // then it tells what the accounts hold after it, in part
	for i := range o.Txn {
		m := &o.Txn[i]
		if !accounts[m.Key] || m.Part != history.PartRead && m.Part != history.PartIncr {
			continue
		}
		balance, err := int64(0), error(nil)
		if m.Result != "" {
			balance, err = strconv.ParseInt(m.Result, 10, 64)
		}
		if err != nil {
			f.found("not-a-number", because(o),
				"Account %s holds no number", m.Key)
			return 0, false
		}
		if balance < 0 {
			f.found("negative-balance", because(o),
				"Account %s holds %d", m.Key, balance)
		}
		if m.Part == history.PartIncr {
			moved = true
		} else if !read[m.Key] {
			read[m.Key] = true
			total += balance
		}
	}
	return total, len(read) == len(accounts) && !moved
}

// torn looks for one transfer of which half would explain the difference.
func torn(r *history.Op, ops []*history.Op, total, want int64) string {
	for _, o := range ops {
		if !mayHaveHappened(o) || o.Invoke > r.Return || o == r {
			continue
		}
		for i := range o.Txn {
			m := &o.Txn[i]
			if m.Part != history.PartIncr {
				continue
			}
			n, err := strconv.ParseInt(m.Value, 10, 64)
			if err == nil && (n == total-want || n == want-total) && o.Return >= r.Invoke {
				return fmt.Sprintf(", as if half of the transfer by client %d had been seen", o.Client)
			}
		}
	}
	return ""
}
