package history

import (
	"fmt"
	"strings"
)

// The kinds of operations of a messenger. A cursor is a number that only grows: how far somebody has read.
const (
	// Advance makes a cursor Arg at least: it was Expect, and is Result. All are decimal.
	Advance Kind = "advance"
	// Pull reads Limit records of a stream, those after number Arg or, Backward, the newest: List has an Entry for each,
	// and Result is the last number that there is.
	Pull Kind = "pull"
	// Inbox reads all cursors Key + "/" + name: List has an Unread for each, of the stream Arg + name.
	Inbox Kind = "inbox"
	Touch Kind = "touch" // Arg is a value that lives for TTLMs
	Peek  Kind = "peek"  // Result is that value, "" when there is none
)

// AdvanceNot is the Arg of an Advance that only reads.
const AdvanceNot = "0"

// Entry is a record of a stream with its number.
type Entry struct {
	Number uint64
	ID     string
}

func (e Entry) String() string { return fmt.Sprintf("%d %s", e.Number, e.ID) }

// ParseEntry reads the form of String. An id may have spaces.
func ParseEntry(s string) (e Entry, err error) {
	number, id, ok := strings.Cut(s, " ")
	if _, err = fmt.Sscan(number, &e.Number); err != nil || !ok {
		return e, fmt.Errorf("%q is no entry of a stream", s)
	}
	e.ID = id
	return e, nil
}

// Unread is a conversation in somebody's inbox. Last - Cursor records are unread.
type Unread struct {
	Name         string
	Cursor, Last uint64
}

func (u Unread) String() string { return fmt.Sprintf("%s %d %d", u.Name, u.Cursor, u.Last) }

// ParseUnread reads the form of String.
func ParseUnread(s string) (u Unread, err error) {
	if n, err := fmt.Sscan(s, &u.Name, &u.Cursor, &u.Last); n != 3 || err != nil {
		return u, fmt.Errorf("%q is no entry of an inbox", s)
	}
	return u, nil
}
