package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

const commitFileMax = 16 << 20 // bytes: base64 of 4 MiB, and names

const commitHelp = `Checks all conditions and, if they hold, makes all mutations, at one moment. FILE (- is
standard input) holds

  {"conditions": [{"key": "a", "version": 0}],
   "mutations":  [{"key": "a", "value": "1", "ttl_ms": 0}, {"key": "b", "delete": true}]}

Version 0: the key must not exist. With "key_encoding": "base64" or "value_encoding": "base64" beside it, a
key or a value is taken as base64. Unknown fields are errors.`

type commitFile struct {
	Conditions []struct {
		commitKey
		Version *uint64 `json:"version"`
	} `json:"conditions"`
	Mutations []struct {
		commitKey
		Value         *string `json:"value"`
		ValueEncoding string  `json:"value_encoding"`
		TTLMillis     int64   `json:"ttl_ms"`
		Delete        bool    `json:"delete"`
	} `json:"mutations"`
}

type commitKey struct {
	Key         *string `json:"key"`
	KeyEncoding string  `json:"key_encoding"`
}

func newCommit(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "commit FILE|-", Short: "Change several keys at one moment", Long: commitHelp, Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			b, err := io.ReadAll(io.LimitReader(in, commitFileMax+1))
			if err != nil {
				return fmt.Errorf("read %s: %w", args[0], err)
			}
			t, err := parseCommit(b)
			if err != nil {
				return &cliError{exitUsage, "vipkv kv commit --help shows the format", err}
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			w, err := cl.Commit(c.Context(), t)
			if err != nil {
				return err
			}
			return a.printWritten(w)
		},
	}
}

func parseCommit(b []byte) (client.Transaction, error) {
	var file commitFile
	var t client.Transaction
	if len(b) > commitFileMax {
		return t, fmt.Errorf("longer than %s", size(commitFileMax))
	}
	if err := strictJSON(b, &file); err != nil {
		return t, err
	}
	for i, x := range file.Conditions {
		key, err := fromJSON(x.Key, x.KeyEncoding)
		if err == nil && x.Version == nil {
			err = fmt.Errorf("no version")
		}
		if err != nil {
			return t, fmt.Errorf("condition %d: %w", i, err)
		}
		t.Conditions = append(t.Conditions, client.Condition{Key: key, Version: *x.Version})
	}
	for i, x := range file.Mutations {
		key, err := fromJSON(x.Key, x.KeyEncoding)
		if err != nil {
			return t, fmt.Errorf("mutation %d: key: %w", i, err)
		}
		m := client.Mutation{Key: key, Delete: x.Delete, TTL: time.Duration(x.TTLMillis) * time.Millisecond}
		if x.Delete != (x.Value == nil) {
			return t, fmt.Errorf(`mutation %d: wants either "value" or "delete": true`, i)
		}
		if !x.Delete {
			if m.Value, err = fromJSON(x.Value, x.ValueEncoding); err != nil {
				return t, fmt.Errorf("mutation %d: value: %w", i, err)
			}
		}
		t.Mutations = append(t.Mutations, m)
	}
	if len(t.Conditions)+len(t.Mutations) == 0 {
		return t, fmt.Errorf("no conditions and no mutations")
	}
	return t, nil
}

// fromJSON is the inverse of object.bytes.
func fromJSON(s *string, encoding string) ([]byte, error) {
	switch {
	case s == nil:
		return nil, fmt.Errorf("missing")
	case encoding == "":
		return []byte(*s), nil
	case encoding == "base64":
		return base64.StdEncoding.DecodeString(*s)
	}
	return nil, fmt.Errorf("unknown encoding %q", encoding)
}

// strictJSON decodes exactly one document without unknown fields.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON document")
	}
	return nil
}
