package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestConfigFileAndFlags(t *testing.T) {
	cfg := defaultNodeConfig()
	err := decodeConfig([]byte(`
data: /d
keyfile: /k
listen: 127.0.0.1:0
join: [127.0.0.1:1, 127.0.0.1:2]
locality: {zone: a}
set: {split-bytes: "262144", lost-after: 5s}
`), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	flags := nodeConfig{Data: "/flag", Set: map[string]string{"lost-after": "1s"}}
	overrideConfig(&cfg, &flags, func(name string) bool { return name == "data" || name == "set" })
	want := defaultNodeConfig()
	want.Data, want.Keyfile, want.Listen = "/flag", "/k", "127.0.0.1:0"
	want.Join = []string{"127.0.0.1:1", "127.0.0.1:2"}
	want.Locality = map[string]string{"zone": "a"}
	want.Set = map[string]string{"split-bytes": "262144", "lost-after": "1s"}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if err := cfg.validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigFileIsStrict(t *testing.T) {
	for _, c := range []struct{ file, says string }{
		{"data: /d\ncolour: blue\n", "line 2: field colour not found"},
		{"data: [1]\n", "line 1"},
		{"data: a\ndata: b\n", "already defined"},
		{"data: a\n---\ndata: b\n", "more than one document"},
	} {
		cfg := defaultNodeConfig()
		if err := decodeConfig([]byte(c.file), &cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.file, err)
		}
	}
	cfg := defaultNodeConfig()
	if err := decodeConfig(nil, &cfg); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

// Every key of the configuration file is a flag of the same name, and the other way round.
func TestConfigKeysAreFlags(t *testing.T) {
	keys := make(map[string]bool)
	typ := reflect.TypeFor[nodeConfig]()
	for i := range typ.NumField() {
		if tag := typ.Field(i).Tag.Get("yaml"); tag != "" {
			keys[tag] = true
		}
	}
	root := newRoot(&app{})
	c, _, err := root.Find([]string{"start"})
	if err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if c.Flags().Lookup(key) == nil && root.PersistentFlags().Lookup(key) == nil {
			t.Errorf("key %s has no flag", key)
		}
	}
	for _, flag := range []string{"data", "keyfile", "listen", "listen-peer", "listen-http", "advertise",
		"advertise-peer", "advertise-http", "join", "locality", "admin-credential-out", "log-level", "set"} {
		if !keys[flag] || c.Flags().Lookup(flag) == nil {
			t.Errorf("flag %s has no key", flag)
		}
	}
}
