package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// credentials are API keys by tenant, kept in a file that only its owner can read.
type credentials struct {
	file string // empty: kept nowhere
	keys map[string]string
}

// loadCredentials reads a file of credentials; one that is missing is empty.
func loadCredentials(file string) (*credentials, error) {
	c := &credentials{file: file, keys: make(map[string]string)}
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if err := strictJSON(b, &c.keys); err != nil {
		return nil, fmt.Errorf("read credentials %s: %w", file, err)
	}
	return c, nil
}

// set remembers a tenant's credential, durably.
func (c *credentials) set(tenant, credential string) error {
	if c.keys[tenant] == credential {
		return nil
	}
	c.keys[tenant] = credential
	if c.file == "" {
		return nil
	}
	return writeJSONFile(c.file, c.keys)
}

// writeJSONFile replaces a file as a whole; only its owner can read it.
func writeJSONFile(file string, v any) (err error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(file, append(b, '\n'))
}

// replaceFile makes a file hold content, wholly or not at all, readable by its owner alone, and makes it durable.
func replaceFile(file string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, errors.Join(err, os.Remove(f.Name())))
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
