package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const importLineMax = 2 << 20 // bytes of a line

// importMessage is one line of the file.
type importMessage struct {
	line         int
	tenant       string
	conversation string
	clientID     string
	body         []byte // compact JSON: from, ts, text
}

// cost is about what the message takes in memory.
func (m *importMessage) cost() int64 {
	return int64(len(m.tenant)+len(m.conversation)+len(m.clientID)+len(m.body)) + 256
}

type importLine struct {
	Tenant       *string `json:"tenant"`
	Conversation *string `json:"conversation"`
	From         *string `json:"from"`
	ClientID     *string `json:"client_id"`
	TS           *int64  `json:"ts"`
	Text         *string `json:"text"`
}

type importBody struct {
	From string `json:"from"`
	TS   int64  `json:"ts"`
	Text string `json:"text"`
}

// parseMessage decodes one line strictly: valid UTF-8, every field there and no other.
func parseMessage(line []byte) (importMessage, error) {
	var l importLine
	if !utf8.Valid(line) {
		return importMessage{}, errors.New("not valid UTF-8")
	}
	if err := strictJSON(line, &l); err != nil {
		return importMessage{}, err
	}
	for _, f := range []struct {
		name  string
		value *string
		max   int // bytes; 0: the line's limit is enough
	}{
		{"tenant", l.Tenant, 63}, {"conversation", l.Conversation, 1024}, {"client_id", l.ClientID, 256},
		{"from", l.From, 0}, {"text", l.Text, 0},
	} {
		switch {
		case f.value == nil:
			return importMessage{}, fmt.Errorf("no field %q", f.name)
		case f.max > 0 && *f.value == "":
			return importMessage{}, fmt.Errorf("field %q is empty", f.name)
		case f.max > 0 && len(*f.value) > f.max:
			return importMessage{}, fmt.Errorf("field %q has %d bytes, the limit is %d", f.name, len(*f.value), f.max)
		}
	}
	if l.TS == nil {
		return importMessage{}, errors.New(`no field "ts"`)
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(importBody{*l.From, *l.TS, *l.Text}); err != nil {
		return importMessage{}, err
	}
	b := bytes.TrimSuffix(body.Bytes(), []byte("\n"))
	if len(b) > valueMax {
		return importMessage{}, fmt.Errorf("the message has %d bytes, the limit of a record is %d", len(b), valueMax)
	}
	return importMessage{tenant: *l.Tenant, conversation: *l.Conversation, clientID: *l.ClientID, body: b}, nil
}

// readMessages calls f for each message of r, gzipped or not, in order. Errors name the line.
func readMessages(r io.Reader, f func(importMessage) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	magic, err := in.Peek(2)
	if err != nil && err != io.EOF {
		return err
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		defer z.Close() // it has no state that could fail; the checksum is verified by reading to the end
		in = bufio.NewReaderSize(z, 64<<10)
	}
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 64<<10), importLineMax)
	n := 0
	for s.Scan() {
		n++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		m, err := parseMessage(s.Bytes())
		if err != nil {
			return failf(exitOther, "nothing after this line was imported; repair the file and run it again",
				"line %d: %w", n, err)
		}
		m.line = n
		if err := f(m); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return failf(exitOther, "", "line %d: longer than %s", n+1, size(importLineMax))
	}
	if s.Err() != nil {
		return fmt.Errorf("line %d: %w", n+1, s.Err())
	}
	return nil
}
