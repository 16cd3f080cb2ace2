package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	bankAccounts = 6
	bankOpening  = 100 // in each account
	bankTransfer = 20  // at most
	bankReads    = 3   // one operation in so many reads all accounts
)

// bank: clients move money between accounts and read all of them at one moment. The accounts' keys are short and next
// to each other, so that one range mostly holds them: where it does not, a transfer is refused.
type bank struct {
	books
	accounts []string
}

func newBank(o Options) Workload {
	w := &bank{books: newBooks("bank", o, 4)}
	for i := range bankAccounts {
		w.accounts = append(w.accounts, fmt.Sprintf("%s%d", w.prefix, i))
	}
	return w
}

// Setup implements Workload. A transaction commits on condition that all is as it read it, so an attempt whose outcome
// is not known cannot take effect after a later one.
func (w *bank) Setup() []history.Op {
	op := w.op(history.Txn, "")
	for _, a := range w.accounts {
		m := history.Mop{Part: history.PartWrite, Key: a, Value: strconv.Itoa(bankOpening)}
		op.Txn = append(op.Txn, m)
	}
	return []history.Op{op}
}

// Draw implements Workload.
func (w *bank) Draw(r *rand.Rand, _ int) history.Op {
	if r.IntN(bankReads) == 0 {
		return w.statement()
	}
	op := w.op(history.Txn, "")
	from := r.IntN(bankAccounts)
	to := (from + 1 + r.IntN(bankAccounts-1)) % bankAccounts
	amount := strconv.Itoa(1 + r.IntN(bankTransfer))
	op.Txn = []history.Mop{
		{Part: history.PartIncr, Key: w.accounts[from], Value: "-" + amount},
		{Part: history.PartIncr, Key: w.accounts[to], Value: amount},
	}
	return op
}

func (w *bank) statement() history.Op { return w.readTxn(w.accounts) }

// readTxn reads keys at one moment.
func (b *books) readTxn(keys []string) history.Op {
	op := b.op(history.Txn, "")
	for _, k := range keys {
		op.Txn = append(op.Txn, history.Mop{Part: history.PartRead, Key: k})
	}
	return op
}

// Final implements Workload.
func (w *bank) Final() []history.Op { return []history.Op{w.statement()} }

// Check implements Workload.
func (w *bank) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewBank(check.BankOptions{}))
}
