package history

import (
	"fmt"
	"strings"
	"time"
)

// listMax is how many elements of a list a sentence shows.
const listMax = 12

// String tells the operation in one sentence, for people.
func (o *Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client %d", o.Client)
	if o.Tenant != "" {
		fmt.Fprintf(&b, " of tenant %s", o.Tenant)
	}
	fmt.Fprintf(&b, " %s, from %s to %s: ", o.asked(), moment(o.Invoke), moment(o.Return))
	switch o.Type {
	case OK:
		b.WriteString(o.told())
	case Fail:
		b.WriteString("refused")
	default:
		b.WriteString("nobody knows whether it took effect")
	}
	if o.Err != "" {
		fmt.Fprintf(&b, " (%s)", o.Err)
	}
	return b.String()
}

func (o *Op) asked() string {
	switch o.Kind {
	case Write:
		return fmt.Sprintf("wrote %q to %s", o.Arg, o.Key)
	case CAS:
		return fmt.Sprintf("replaced %q by %q in %s", o.Expect, o.Arg, o.Key)
	case Append:
		return fmt.Sprintf("appended %s to %s", o.Arg, o.Key)
	case Add:
		return fmt.Sprintf("added %s to %s", o.Arg, o.Key)
	case Incr:
		return fmt.Sprintf("added %s to the counter %s", o.Arg, o.Key)
	case Txn:
		parts := make([]string, len(o.Txn))
		for i := range o.Txn {
			parts[i] = o.Txn[i].String()
		}
		return "did at one moment {" + strings.Join(parts, "; ") + "}"
	case Advance:
		return fmt.Sprintf("moved the cursor %s to at least %s", o.Key, o.Arg)
	case Touch:
		return fmt.Sprintf("wrote %q to %s for %d ms", o.Arg, o.Key, o.TTLMs)
	}
	return "read " + o.Key
}

func (o *Op) told() string {
	var s string
	switch o.Kind {
	case Read, Count, Peek:
		s = "saw " + seen(o.Result)
	case Advance:
		s = "it was " + o.Expect + " and is " + o.Result
	case Stream, Set, Scan, Pull, Inbox:
		s = "saw " + elements(o.List)
	case CAS:
		s = map[bool]string{true: "done", false: "it was something else"}[o.Result == "true"]
	case Append:
		s = "acknowledged as record " + o.Result
	case Incr:
		s = "acknowledged, the sum is " + o.Result
	default:
		s = "acknowledged"
	}
	if o.Version != 0 {
		s += fmt.Sprintf(", version %d", o.Version)
	}
	if o.At != 0 {
		s += fmt.Sprintf(", read at timestamp %d", o.At)
	}
	return s
}

// String tells one step of a transaction.
func (m *Mop) String() string {
	switch m.Part {
	case PartWrite:
		return fmt.Sprintf("%s := %q", m.Key, m.Value)
	case PartAppend:
		return fmt.Sprintf("%s appends %s", m.Key, m.Value)
	case PartIncr:
		return fmt.Sprintf("%s += %s = %s", m.Key, m.Value, m.Result)
	}
	s := m.Key + " is " + seen(m.Result)
	if m.Version != 0 {
		s += fmt.Sprintf(" of version %d", m.Version)
	}
	return s
}

func seen(value string) string {
	if value == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", value)
}

func elements(list []string) string {
	if len(list) <= listMax {
		return "[" + strings.Join(list, " ") + "]"
	}
	half := listMax / 2
	return fmt.Sprintf("[%s ... %s] of %d", strings.Join(list[:half], " "),
		strings.Join(list[len(list)-half:], " "), len(list))
}

// moment shows a time of the history's clock.
func moment(ns int64) string {
	d := time.Duration(ns)
	if d > time.Millisecond {
		d = d.Round(time.Microsecond)
	}
	return d.String()
}
