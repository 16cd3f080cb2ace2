package failover_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/failover"
)

func TestMarkdown(t *testing.T) {
	table := failover.Table{When: "2026-01-02", Host: "h", Build: "b", Ranges: 6, Hold: 15000, Rows: []failover.Row{
		{Text: "killed", Trials: []failover.Trial{
			{Gap: 3000, Quiet: 60, After: 100}, {Gap: 1000, Quiet: 90, Failed: 2}, {Gap: 2000, After: 500},
		}},
		{Text: "stalled", Trials: []failover.Trial{
			{Gap: 14900, Open: true}, {Gap: 15100, Open: true}, {Gap: 20000},
		}},
		{Text: "not measured"},
	}}
	got := table.Markdown()
	for _, want := range []string{
		"| killed | 3 | 2.00 s | 3.00 s | 0.09 s | 0.50 s | 2 |\n",
		"| stalled | 3 | > 14.90 s | > 15.10 s | 0.00 s | 0.00 s | 0 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "not measured") {
		t.Errorf("a row without trials:\n%s", got)
	}
}

func TestWriteInto(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	whole := "above\n<!-- failover: begin; written by make failover WRITE=1 -->\nold\n<!-- failover: end -->\nbelow\n"
	for range 2 { // again: the same
		if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := failover.WriteInto(file, "| new |\n"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole = string(b)
	}
	want := "above\n<!-- failover: begin; written by make failover WRITE=1 -->\n\n| new |\n\n" +
		"<!-- failover: end -->\nbelow\n"
	if whole != want {
		t.Errorf("it is now %q", whole)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if failover.WriteInto(file, "x") == nil {
		t.Error("a file without markers was taken")
	}
}
