package mvcc

import (
	"bytes"
	"fmt"
)

// HeadWindow is the number of window bytes in a stored head row.
func HeadWindow(value []byte) int64 {
	_, payload, err := parseVersion(value)
	if err != nil {
		panic(err)
	}
	var h headRow
	if err := h.parse(payload); err != nil {
		panic(err)
	}
	return h.window
}

// Reencode parses b as every stored value and tells when one does not come out as it went in.
func Reencode(b []byte) error {
	if h, rest, err := parseVersion(b); err == nil {
		same := bytes.Equal(append(h.append(nil), rest...), b)
		zero := (b[1]&flagExpiry != 0 && h.expiry == 0) || (b[1]&flagAhead != 0 && h.ahead == 0)
		if !same && !zero {
			return fmt.Errorf("version %x: %+v", b, h)
		}
	}
	if in, envelope, err := parseIntent(b); err == nil {
		again, _, err := parseIntent(append(in.append(nil), envelope...))
		if err != nil || again.Start != in.Start || !bytes.Equal(again.Primary, in.Primary) {
			return fmt.Errorf("intent %x: %+v, %w", b, in, err)
		}
	}
	var q queueRow
	if err := q.parse(b); err == nil {
		var again queueRow
		if err := again.parse(q.append(nil)); err != nil || len(again.clients) != len(q.clients) {
			return fmt.Errorf("queue row %x: %+v, %w", b, q, err)
		}
	}
	var h headRow
	if err := h.parse(b); err == nil && !bytes.Equal(h.append(nil), b) {
		return fmt.Errorf("head row %x: %+v", b, h)
	}
	return nil
}
