package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printJSON prints one document on one line.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// object is a JSON object in the making.
type object map[string]any

// bytes adds binary data under name: as text when it is valid UTF-8, else as base64, with a field that says so.
func (o object) bytes(name string, b []byte) object {
	if utf8.Valid(b) {
		o[name] = string(b)
		return o
	}
	o[name] = base64.StdEncoding.EncodeToString(b)
	o[name+"_encoding"] = "base64"
	return o
}

// expires adds the time at which a value ends, when it does.
func (o object) expires(t time.Time) object {
	if !t.IsZero() {
		o["expires_ms"] = t.UnixMilli()
	}
	return o
}

// quote shows bytes in a table: as they are when nothing in them could mislead, else as a Go string literal.
func quote(b []byte) string {
	s := string(b)
	misleads := func(r rune) bool {
		return r == utf8.RuneError || r == '"' || r == '\\' || !unicode.IsPrint(r)
	}
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, misleads) {
		return strconv.Quote(s)
	}
	return s
}

// text shows a value by itself: as it is when it is printable text, lines and tabs included, else as a Go literal.
func text(b []byte) string {
	s := string(b)
	misleads := func(r rune) bool {
		return r == utf8.RuneError || (!unicode.IsPrint(r) && r != '\n' && r != '\t')
	}
	if strings.ContainsFunc(s, misleads) {
		return strconv.Quote(s)
	}
	return s
}

// table prints rows in aligned columns; the first is the heading.
func (a *app) table(rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(a.out, out.String())
	return err
}

// printf prints to standard output.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

// size shows a number of bytes.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1<<10 && unit < 5 {
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGTP"[unit])
}

// codec turns arguments into bytes.
type codec struct{ hex bool }

// decode returns the bytes that an argument stands for.
func (c codec) decode(what, arg string) ([]byte, error) {
	if !c.hex {
		return []byte(arg), nil
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return nil, usagef("without --hex it is taken as text", "%s %q is not hexadecimal", what, arg)
	}
	return b, nil
}

// value is decode, and "-" stands for standard input as it is, at most limit bytes.
func (c codec) value(a *app, arg string, limit int64) ([]byte, error) {
	if arg != "-" {
		return c.decode("value", arg)
	}
	b, err := io.ReadAll(io.LimitReader(a.in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, usagef("", "standard input is longer than %s", size(uint64(limit)))
	}
	return b, nil
}
