package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Type is the outcome of an operation.
type Type string

// The outcomes.
const (
	OK   Type = "ok"
	Fail Type = "fail"
	Info Type = "info"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Read   Kind = "read"   // register: Result is the value, "" when there is none
	Write  Kind = "write"  // register: Arg is the value
	CAS    Kind = "cas"    // register: Arg replaces Expect; Result is "true", or "false" when it did not match
	Append Kind = "append" // stream: Arg is the client's id of the record; Result is its sequence number, decimal
	Stream Kind = "stream" // stream: List is the ids of all records, in order of sequence numbers from 1
	Add    Kind = "add"    // set: Arg is the element; its own key is Key + "/" + Arg
	Set    Kind = "set"    // set: List is all elements
	Incr   Kind = "incr"   // counter: Arg is the addend, decimal; Result is the sum after it
	Count  Kind = "count"  // counter: Result is the sum, decimal
	Txn    Kind = "txn"    // Txn is what it read and wrote, at one moment
	Scan   Kind = "scan"   // the first or last Limit keys of all: List is their values, as they lie
)

// Part is what a transaction does to one key.
type Part string

// The parts of transactions.
const (
	PartRead   Part = "r"      // Result is what it saw, List its elements when the key is appended to
	PartWrite  Part = "w"      // Value is the new value
	PartAppend Part = "append" // Value is added to the end of the key's list
	PartIncr   Part = "incr"   // Value is the addend, decimal; Result is the sum after it
)

// Mop is one step of a transaction.
type Mop struct {
	Part    Part     `json:"f"`
	Key     string   `json:"key"`
	Value   string   `json:"value,omitempty"`
	Result  string   `json:"result,omitempty"`
	List    []string `json:"list,omitempty"`
	Version uint64   `json:"version,omitempty"` // of what it saw of the key before; 0: nothing
}

// Op is one operation of one client.
type Op struct {
	Client   int      `json:"client"`
	Workload string   `json:"workload,omitempty"` // whose operation it is
	Tenant   string   `json:"tenant,omitempty"`   // in whose space it was asked; empty: there is one
	Kind     Kind     `json:"op"`
	Key      string   `json:"key"`
	Arg      string   `json:"arg,omitempty"`
	Expect   string   `json:"expect,omitempty"`
	Limit    int      `json:"limit,omitempty"`    // of what is read
	Backward bool     `json:"backward,omitempty"` // read from the end
	TTLMs    int64    `json:"ttl_ms,omitempty"`   // how long what is written lives; 0: for ever
	Result   string   `json:"result,omitempty"`
	List     []string `json:"list,omitempty"`
	Txn      []Mop    `json:"txn,omitempty"`
	// Version is a commit timestamp: of a write, its own; of a read, that of the value it saw. 0: not known, or nothing.
	Version uint64 `json:"version,omitempty"`
	// Base is the version that a conditional write (cas, incr, advance) found, and demanded to be there still. 0: not
	// known, or nothing.
	Base uint64 `json:"base,omitempty"`
	// At is the timestamp at which a read of several keys took place. 0: it has none.
	At       uint64 `json:"at,omitempty"`
	Invoke   int64  `json:"invoke_ns"`
	Return   int64  `json:"return_ns"` // of info: when the client gave up
	Type     Type   `json:"type"`
	Endpoint string `json:"endpoint,omitempty"`
	Err      string `json:"err,omitempty"`
}

// Writes tells whether the operation changed something, or would have, had it succeeded. A compare-and-set that did
// not match changes nothing.
func (o *Op) Writes() bool {
	switch o.Kind {
	case Write, Append, Add, Incr, Touch:
		return true
	case Advance:
		return o.Arg != AdvanceNot
	case CAS:
		return o.Result != "false"
	case Txn:
		return slices.ContainsFunc(o.Txn, func(m Mop) bool { return m.Part != PartRead })
	}
	return false
}

// Validate checks what every history must hold.
func (o *Op) Validate() error {
	switch o.Kind {
	case Read, Write, CAS, Append, Stream, Add, Set, Incr, Count, Txn, Scan,
		Advance, Pull, Inbox, Touch, Peek:
	default:
		return fmt.Errorf("unknown op %q", o.Kind)
	}
	switch o.Type {
	case OK, Fail, Info:
	default:
		return fmt.Errorf("unknown type %q", o.Type)
	}
	for i := range o.Txn {
		switch o.Txn[i].Part {
		case PartRead, PartWrite, PartAppend, PartIncr:
		default:
			return fmt.Errorf("unknown part of a transaction %q", o.Txn[i].Part)
		}
	}
	if o.Return < o.Invoke {
		return fmt.Errorf("client %d: an operation returns at %d, before it is invoked at %d", o.Client, o.Return, o.Invoke)
	}
	return nil
}

// Writer writes a history. It is not safe for concurrent use.
type Writer struct {
	w   *bufio.Writer
	enc *json.Encoder
}

// NewWriter returns a writer to w. Flush must be called at the end.
func NewWriter(w io.Writer) *Writer {
	b := bufio.NewWriter(w)
	return &Writer{w: b, enc: json.NewEncoder(b)}
}

// Write appends one operation.
func (w *Writer) Write(o *Op) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return w.enc.Encode(o)
}

// Flush hands everything written to the underlying writer.
func (w *Writer) Flush() error { return w.w.Flush() }

// ReadAll reads a whole history. A field or line that it does not know is an error.
func ReadAll(r io.Reader) ([]Op, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var ops []Op
	for {
		var o Op
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			return ops, nil
		}
		if err == nil {
			err = o.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("read history: operation %d: %w", len(ops)+1, err)
		}
		ops = append(ops, o)
	}
}
