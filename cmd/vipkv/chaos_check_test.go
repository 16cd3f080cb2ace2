package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/history"
)

// historyFile writes a register's history: what is written and then read.
func historyFile(t *testing.T, read string) string {
	t.Helper()
	var b strings.Builder
	w := history.NewWriter(&b)
	for _, o := range []history.Op{
		{Client: 1, Workload: "register", Kind: history.Write, Key: "a", Arg: "v1", Return: 1e6, Type: history.OK},
		{Client: 1, Workload: "register", Kind: history.Write, Key: "a", Arg: "v2", Invoke: 2e6, Return: 3e6, Type: history.OK},
		{Client: 2, Workload: "register", Kind: history.Read, Key: "a", Result: read, Invoke: 4e6, Return: 5e6,
			Type: history.OK},
	} {
		if err := w.Write(&o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "history.ndjson", b.String())
}

func TestChaosCheck(t *testing.T) {
	good, bad := historyFile(t, "v2"), historyFile(t, "v1")
	code, out, errs := vipkv(t, "", "chaos", "check", good)
	if code != exitOK || errs != "" || !strings.Contains(out, "pass       registers of register, 3 operations\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	dir := filepath.Join(t.TempDir(), "pictures")
	code, out, errs = vipkv(t, "", "chaos", "check", bad, "--html", dir)
	if code != exitVerdict || !strings.Contains(errs, "1 of 3 verdicts are no pass") ||
		!strings.Contains(out, "fail       registers of register, 3 operations: 1 stale-read\n"+
			"    stale-read: Register a: a read saw a value that had been replaced:\n"+
			"        client 1 wrote \"v1\" to a, from 0s to 1ms: acknowledged\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "register-a.html")); err != nil || !strings.Contains(string(page), "<svg") {
		t.Errorf("no picture: %v", err)
	}
	code, out, errs = vipkv(t, "", "chaos", "check", bad, "--json")
	var v struct {
		Passed     bool
		Operations int
		Verdicts   []struct{ Checker, Outcome string }
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitVerdict || v.Passed || v.Operations != 3 ||
		len(v.Verdicts) != 3 || !strings.Contains(errs, `"code":"verdict"`) {
		t.Errorf("exit %d: %v: %s%s", code, err, out, errs)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := vipkv(t, string(content), "chaos", "check", "-"); code != exitOK {
		t.Errorf("standard input: exit %d: %s%s", code, out, errs)
	}
	if code, out, _ := vipkv(t, "", "chaos", "check", "-"); code != exitVerdict || !strings.Contains(out, "void") {
		t.Errorf("an empty history: exit %d: %s", code, out)
	}
	if code, out, _ := vipkv(t, "", "chaos", "check", good, "--min-ok", "4"); code != exitVerdict ||
		!strings.Contains(out, "3 operations were acknowledged, at least 4 must be") {
		t.Errorf("too few: exit %d: %s", code, out)
	}
}

func TestChaosCheckWithFaultsAndState(t *testing.T) {
	file := historyFile(t, "v2")
	bit := `{"fault":"kill","target":"node 1","start_ns":1,"end_ns":2,"bit":true,"evidence":"it was gone"}` + "\n"
	if code, out, errs := vipkv(t, "", "chaos", "check", file, "--faults", writeFile(t, "f", bit)); code != exitOK {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	missed := strings.Replace(bit, "true", "false", 1)
	if code, out, _ := vipkv(t, "", "chaos", "check", file, "--faults", writeFile(t, "f", missed)); code != exitVerdict ||
		!strings.Contains(out, "did not bite: it was gone") {
		t.Errorf("a fault that did not bite: exit %d: %s", code, out)
	}
	lost := `{"keys":[{"key":"a","versions":[{"version":1,"value":"v1"}]}]}`
	if code, out, _ := vipkv(t, "", "chaos", "check", file, "--dump", writeFile(t, "d", lost)); code != exitVerdict ||
		!strings.Contains(out, "fail       audit of register, 2 operations: 1 lost-write") {
		t.Errorf("a lost write: exit %d: %s", code, out)
	}
	for name, args := range map[string][]string{
		"no history":         {writeFile(t, "h", "{")},
		"a foreign history":  {writeFile(t, "h", `{"color":"red"}`)},
		"no faults":          {file, "--faults", writeFile(t, "f", "x")},
		"no state":           {file, "--dump", writeFile(t, "d", `{"kees":[]}`)},
		"two states":         {file, "--dump", writeFile(t, "d", `{} {}`)},
		"unknown level":      {file, "--level", "eventual"},
		"no time":            {file, "--register-limit", "0s"},
		"two histories":      {file, file},
		"nothing to look at": {},
	} {
		if code, _, errs := vipkv(t, "", append([]string{"chaos", "check"}, args...)...); code != exitUsage || errs == "" {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
}
