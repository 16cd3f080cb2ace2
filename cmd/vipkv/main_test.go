package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/client/clienttest"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// The test binary is vipkv when this is set.
const beVipkv = "VIPKV_TEST_BE_VIPKV"

func TestMain(m *testing.M) {
	if os.Getenv(beVipkv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// vipkv runs a command line as main does, in this process.
func vipkv(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &out, err: &errs, env: func(string) string { return "" }}
	code = run(t.Context(), a, args)
	return code, out.String(), errs.String()
}

func TestTheProcessEndsWithTheCode(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--json", "kv", "get", "a", "b")
	cmd.Env = append(os.Environ(), beVipkv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !json.Valid(out) {
		t.Errorf("%v: %s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), os.Args[0], "version")
	cmd.Env = append(os.Environ(), beVipkv+"=1")
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "vipkv ") {
		t.Errorf("%v: %s", err, out)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUsageErrors(t *testing.T) {
	off := []string{"start", "--data", "x", "--keyfile", "k"}
	config := writeFile(t, "bad.yaml", "data: x\nkeyfile: k\nlissten: 127.0.0.1:1\n")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"unknown command":         {[]string{"frobnicate"}, `unknown command "frobnicate"`},
		"unknown subcommand":      {[]string{"kv", "gett", "a"}, "did you mean vipkv kv get?"},
		"unknown flag":            {[]string{"kv", "get", "--colour", "a"}, "unknown flag: --colour"},
		"too few arguments":       {[]string{"kv", "put", "a"}, "usage: vipkv kv put KEY VALUE|-"},
		"bad hex":                 {[]string{"--credential", "x", "kv", "get", "--hex", "zz"}, "not hexadecimal"},
		"no credential":           {[]string{"kv", "get", "a"}, "VIPKV_CREDENTIAL"},
		"bad endpoint":            {[]string{"--credential", "x", "-e", "nowhere", "kv", "get", "a"}, "host:port"},
		"endpoint off loopback":   {[]string{"--credential", "x", "-e", "192.0.2.1:1", "status"}, "loopback"},
		"bad duration":            {[]string{"--timeout", "soon", "status"}, "invalid argument"},
		"prefix and start":        {[]string{"kv", "scan", "--prefix", "a", "--start", "b"}, "does not go with"},
		"last and after":          {[]string{"stream", "read", "s", "--last", "1", "--after", "1"}, "does not go with"},
		"start without data":      {[]string{"start"}, "--data is missing"},
		"start without keyfile":   {[]string{"start", "--data", "x"}, "vipkv keyfile create"},
		"listen off loopback":     {slices.Concat(off, []string{"--listen", "0.0.0.0:1"}), "--insecure-plaintext"},
		"advertise off loopback":  {slices.Concat(off, []string{"--advertise-peer", "a.example:1"}), "--insecure-plaintext"},
		"listen on all":           {slices.Concat(off, []string{"--listen-peer", ":1"}), "--insecure-plaintext"},
		"bad tunable":             {[]string{"start", "--data", "x", "--keyfile", "k", "--set", "a"}, "KEY=VALUE"},
		"bad log level":           {[]string{"start", "--data", "x", "--keyfile", "k", "--log-level", "loud"}, "loud"},
		"unknown configuration":   {[]string{"start", "--config", config}, "line 3: field lissten not found"},
		"split whose key":         {[]string{"range", "split", "a"}, "--tenant NAME"},
		"transfer what":           {[]string{"range", "transfer", "x", "1"}, "vipkv range list"},
		"transfer to what":        {[]string{"range", "transfer", "1", "x"}, "1 or s1"},
		"demo without data":       {[]string{"demo"}, "--data is missing"},
		"too many nodes":          {[]string{"demo", "--data", "x", "--nodes", "99"}, "--nodes must be"},
		"import without file":     {[]string{"import"}, "--file is missing"},
		"bench with no callers":   {[]string{"bench", "put", "--callers", "0"}, "--callers"},
		"commit of unknown field": {[]string{"--credential", "x", "kv", "commit", "-"}, "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := vipkv(t, `{"mutation":[]}`, c.args...)
			if code != exitUsage || !strings.Contains(errs, c.says) || !strings.HasPrefix(errs, "vipkv: ") {
				t.Errorf("exit %d, stderr %q, want %q", code, errs, c.says)
			}
			if out != "" {
				t.Errorf("stdout %q", out)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	key := cluster.Tenant("t")
	base := []string{"-e", cluster.Endpoints()[0], "--credential", key, "--timeout", "30s"}
	// The last --credential and --timeout given win.
	for _, c := range []struct {
		name  string
		fault error
		args  []string
		code  int
	}{
		{"put", nil, []string{"kv", "put", "a", "1"}, exitOK},
		{"get", nil, []string{"kv", "get", "a"}, exitOK},
		{"missing key", nil, []string{"kv", "get", "b"}, exitNotFound},
		{"condition", nil, []string{"kv", "put", "--if-absent", "a", "2"}, exitConflict},
		{"stream conflict", nil, []string{"stream", "append", "s", "x", "--expect-last-seq", "3"}, exitConflict},
		{"not the admin", nil, []string{"status"}, exitDenied},
		{"unknown credential", nil, []string{"--credential", "z", "kv", "get", "a"}, exitDenied},
		{"missing tenant", nil, []string{"--credential", clienttest.AdminCredential, "tenant", "show", "z"},
			exitNotFound},
		{"tenant exists", nil, []string{"--credential", clienttest.AdminCredential, "tenant", "create", "t"},
			exitConflict},
		{"invalid", rpcerr.Invalid("key", "empty"), []string{"kv", "get", "a"}, exitUsage},
		{"throttled", rpcerr.Throttled("quota", time.Hour), []string{"kv", "get", "a"}, exitUnavailable},
		{"unavailable", status.Error(codes.Unavailable, "x"), []string{"--timeout", "1s", "kv", "get", "a"},
			exitUnavailable},
		{"ambiguous", rpcerr.Ambiguous("x"), []string{"--timeout", "1s", "kv", "put", "a", "1"}, exitAmbiguous},
		{"integrity", rpcerr.Integrity("tag"), []string{"kv", "get", "a"}, exitCorrupt},
		{"internal", status.Error(codes.Internal, "x"), []string{"kv", "get", "a"}, exitOther},
		{"no file", nil, []string{"--credential", "@/does/not/exist", "kv", "get", "a"}, exitOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster.Before(func(_ context.Context, call clienttest.Call) error {
				if call.Method == "Locate" {
					return nil
				}
				return c.fault
			})
			code, _, errs := vipkv(t, "", append(append([]string{}, base...), c.args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d; %s", code, c.code, errs)
			}
			code, out, errs := vipkv(t, "", append(append([]string{"--json"}, base...), c.args...)...)
			document := out
			if c.code != exitOK {
				document = errs
			}
			var v struct {
				Error *struct {
					Exit    int
					Code    string
					Message string
				}
			}
			if err := json.Unmarshal([]byte(document), &v); err != nil {
				t.Fatalf("%v in %q", err, document)
			}
			if code != c.code || (code != exitOK && (v.Error.Exit != code || v.Error.Code != exitNames()[code][0])) {
				t.Errorf("exit %d: %s", code, document)
			}
		})
	}
}

// Errors of the command line itself are JSON too, and help is no error.
func TestJSONUsageErrorAndHelp(t *testing.T) {
	code, _, errs := vipkv(t, "", "kv", "get", "--json", "--colour")
	if code != exitUsage || !json.Valid([]byte(errs)) {
		t.Errorf("exit %d: %s", code, errs)
	}
	for _, args := range [][]string{{}, {"--help"}, {"kv"}, {"help", "start"}, {"version"}} {
		if code, out, errs := vipkv(t, "", args...); code != exitOK || out == "" || errs != "" {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, errs)
		}
	}
	code, out, _ := vipkv(t, "", "help", "exit-codes")
	for _, n := range exitNames() {
		if !strings.Contains(out, n[0]) || code != exitOK {
			t.Errorf("help exit-codes does not explain %s", n[0])
		}
	}
}

func TestRoundTripsThroughTheCommandLine(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	base := []string{"-e", cluster.Endpoints()[0], "--credential", "@" + writeFile(t, "key", cluster.Tenant("t")+"\n")}
	must := func(stdin string, args ...string) string {
		t.Helper()
		code, out, errs := vipkv(t, stdin, append(append([]string{}, base...), args...)...)
		if code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, errs)
		}
		return out
	}
	binary := "\x00\xff\n"
	must(binary, "kv", "put", "bin", "-")
	if got := must("", "kv", "get", "bin", "--raw"); got != binary {
		t.Errorf("raw: %q", got)
	}
	if got := must("", "kv", "get", "bin"); got != `"\x00\xff\n"`+"\n" {
		t.Errorf("quoted: %q", got)
	}
	must("", "kv", "put", "--hex", "ff00", "6869")
	if got := must("", "kv", "scan", "--json"); !strings.Contains(got, `"key":"/wA=","key_encoding":"base64"`) ||
		!strings.Contains(got, `"value":"hi"`) || !json.Valid([]byte(got)) {
		t.Errorf("scan: %s", got)
	}
	must(`{"conditions":[{"key":"bin","version":1}],"mutations":[{"key":"bin","delete":true},
		{"key":"n","value":"/w==","value_encoding":"base64"}]}`, "kv", "commit", "-")
	if got := must("", "kv", "get", "n", "--raw"); got != "\xff" {
		t.Errorf("after commit: %q", got)
	}
	must("", "stream", "append", "s", "one", "two", "three", "--client-id", "a", "--client-id", "b", "--client-id", "c")
	want := "SEQ  CLIENT ID  BODY\n2    b          two\n3    c          three\n"
	if got := must("", "stream", "read", "s", "--last", "2"); got != want {
		t.Errorf("read:\n%s", got)
	}
	if got := must("", "stream", "truncate", "s", "--before", "3", "--json"); got != "{\"floor_seq\":3}\n" {
		t.Errorf("truncate: %s", got)
	}
	bench := must("", "bench", "append", "--json", "--callers", "1,4", "--duration", "200ms", "--streams", "3")
	var result struct {
		Runs []benchResult
	}
	if err := json.Unmarshal([]byte(bench), &result); err != nil || len(result.Runs) != 2 ||
		result.Runs[1].Operations == 0 || result.Runs[1].Errors != 0 || result.Runs[1].P50 == 0 {
		t.Errorf("bench: %v %s", err, bench)
	}
	must("", "bench", "get", "--callers", "2", "--duration", "200ms", "--keys", "500")
}
