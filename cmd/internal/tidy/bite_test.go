package tidy

import (
	"fmt"
	"strings"
	"testing"
)

// Each check must bite on the smallest offender, and leave what is allowed alone.
func TestChecksBite(t *testing.T) {
	layers := func(s string) string { return "package x\nimport _ \"" + s + "\"\n" }
	own := func(s string) string { return layers(module + "/" + s) }
	for _, c := range []struct {
		check func(*Tree) []Offence
		path  string
		text  string
		want  string // "": no offence
	}{
		{Layers, "proto/x.go", own("raftstore"), "higher floor"},
		{Layers, "txn/x.go", own("raftstore"), "sibling"},
		{Layers, "txn/x_test.go", own("placement"), "sibling"},
		{Layers, "kv/node/x.go", own("chaos"), "nothing is built on it"},
		{Layers, "cmd/vipkv/x.go", own("chaos/sim"), ""},
		{Layers, "cmd/other/x.go", own("chaos/sim"), "nothing is built on it"},
		{Layers, "kv/node/x.go", own("raftstore/engine"), ""},
		{Layers, "kv/client/x.go", own("encryption"), "proto and grpc only"},
		{Layers, "kv/client/x.go", layers("github.com/spf13/pflag"), "proto and grpc only"},
		{Layers, "kv/client/x.go", layers("google.golang.org/grpc"), ""},
		{Layers, "raftstore/replica/x.go", own("raftstore/engine"), "pure core"},
		{Layers, "raftstore/x_test.go", layers("github.com/cockroachdb/pebble/v2/vfs"), "raftstore/engine hides"},
		{Layers, "raftstore/engine/x_test.go", layers("github.com/cockroachdb/pebble/v2/vfs"), ""},
		{Layers, "placement/x.go", layers("go.etcd.io/raft/v3"), "inside raftstore"},
		{Layers, "txn/mvcc/x.go", layers("sync/atomic"), "PURE"},
		{Layers, "txn/mvcc/x_test.go", layers("time"), ""},
		{Layers, "txn/mvcc/x.go", "package x\nfunc f() { go f() }\n", "starts a goroutine"},
		{Layers, "raftstore/x.go", layers("testing"), "only tests"},
		{Layers, "raftstore/enginetest/x.go", layers("testing"), ""},
		{Layers, "stray/x.go", "package x\n", "no floor"},

		{Calls, "kv/x.go", "package x\nimport \"fmt\"\nfunc f() { fmt.Println() }\n", "fmt.Println"},
		{Calls, "cmd/vipkv/x.go", "package x\nimport \"fmt\"\nfunc f() { fmt.Println() }\n", ""},
		{Calls, "kv/x.go", "package x\nimport l \"log\"\nfunc f() { l.Fatal() }\n", "slog"},
		{Calls, "cmd/vipkv/x.go", "package x\nimport \"os\"\nfunc f() { os.Exit(1) }\n", "main turns it"},
		{Calls, "cmd/vipkv/main.go", "package x\nimport \"os\"\nfunc f() { os.Exit(1) }\n", ""},
		{Calls, "kv/x.go", "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "time.Sleep"},
		{Calls, "kv/x.go", "package x\nfunc init() {}\n", "init"},
		{Calls, "kv/x.go", "package x\nfunc f() { panic(1) }\n", "panic"},
		{Calls, "kv/x.go", "package x\nfunc invariant() { panic(1) }\n", ""},
		{Calls, "kv/x.go", "package x\nfunc f() { panic(fmt.Sprintf(\"invariant: %d\", 1)) }\n", ""},

		{State, "kv/x.go", "package x\nvar n = map[int]int{}\n", "var n"},
		{State, "kv/x.go", "package x\nvar a, b int\n", "var b"},
		{State, "kv/x.go", "package x\nimport \"errors\"\nvar ErrX = errors.New(\"x\")\n", ""},
		{State, "kv/x.go", "package x\nimport \"regexp\"\nvar re = regexp.MustCompile(\"x\")\nvar _ error = nil\n", ""},
		{State, "kv/x.go", "package x\nimport _ \"embed\"\n//go:embed x\nvar page []byte\n", ""},
		{State, "proto/fault/x.go", "package x\nvar on bool\n", ""},

		{Tests, "kv/x_test.go", "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "time.Sleep"},
		{Tests, "chaos/x_test.go", "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", ""},
		{Tests, "kv/x_test.go", "package x\nfunc f(t T) { t.Skip(\"slow\") }\n", "capability"},
		{Tests, "kv/x_test.go", "package x\nfunc f(t T) { t.Skip(\"needs root\") }\n", ""},
		{Tests, "kv/x_test.go", "package x\nfunc f(t *rapid.T) { t.Skip() }\nfunc g(t T) {}\n", ""},
		{Tests, "kv/x_test.go", "package x\nfunc f(t *rapid.T) {}\nfunc g(t T) { t.Skip() }\n", "capability"},

		{Names, "kv/util/x.go", "package x\n", "says nothing"},
		{Names, "kv/helpers.go", "package x\n", "says nothing"},

		{Documents, "kv/other/x.go", "package other\n", "no package comment"},
		{Documents, "kv/other/x.go", "// Hello\npackage other\n", "must begin"},
		{Documents, "kv/other/x.go", "// Package other is here.\npackage other\n", ""},
		{Documents, "kv/other/x.go", "//go:build chaos\n\n// Package other is here.\npackage other\n", ""},
		{Documents, "kv/node/x.go", "// Package node is not here.\npackage node\n", "belongs in doc.go"},
		{Documents, "kv/node/doc.go", "// Package node is not here.\npackage node\n", "how to test"},

		{Text, "docs/x.md", "a\n" + "TO" + "DO: later\n", "docs/x.md:2"},
		{Text, "docs/x.md", "see /wo" + "rk/main\n", "one machine"},
		{Text, "docs/x.md", "the /tmp" + "/x\n", "one machine"},
		{Text, "docs/x.md", "network/work/done\n", ""},
		{Text, "docs/x.md", "as issue " + "#7 says\n", "not where"},
		{Text, "docs/x.md", "its time of issue\n", ""},
	} {
		tree := newTree()
		tree.add(c.path, []byte(c.text))
		if len(tree.broken) > 0 {
			t.Fatal(tree.broken)
		}
		got := fmt.Sprint(c.check(tree))
		if (c.want == "") != (got == "[]") || !strings.Contains(got, c.want) {
			t.Errorf("%s\n%s\ngot %s, want %q", c.path, c.text, got, c.want)
		}
	}
}

func TestSizesBite(t *testing.T) {
	tree := newTree()
	body := strings.Repeat("\tg()\n", functionLines)
	tree.add("kv/a.go", []byte("package x\nfunc long() {\n"+body+"}\n"))
	tree.add("kv/b.go", []byte("package x\nfunc wide(a, b, c, d, e, f int) {}\nvar _ = 1 // "+strings.Repeat("x", lineHard)+"\n"))
	tree.add("kv/c.go", []byte("package x\n"+strings.Repeat("//\n", fileLines)))
	tree.add("kv/d.go", []byte("package x\ntype T interface { a(); b(); c(); d(); e(); f(); g(); h() }\n"))
	tree.add("kv/e_test.go", []byte("package x\n"+strings.Repeat("//\n", fileHard)))
	tree.add("kv/f/f.go", []byte("package x\n"+strings.Repeat("const X = 1\n", exportedMax+1)))
	var got []string
	for _, s := range Sizes(tree) {
		got = append(got, fmt.Sprintf("%s %s %d", s.Kind, s.Where, s.Now))
	}
	want := []string{
		"function kv/a.go:long 72", "columns kv/b.go 133", "parameters kv/b.go:wide 6", "file kv/c.go 501",
		"interface kv/d.go:T 8", "lines kv 1", "exported kv/f 61",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRatchet(t *testing.T) {
	sizes := []Size{{"file", "a.go", 600, 500, 800}, {"file", "b.go", 801, 500, 800}, {"function", "c.go:f", 71, 70, 0}}
	rows, err := ParseRatchet(FormatRatchet(sizes))
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	want := []string{"b.go: file: 801, and 800 is the end: split it"}
	if got := Overgrown(sizes, rows); len(got) != 1 || got[0].String() != want[0] {
		t.Errorf("got %v", got)
	}
	sizes[0].Now = 601
	if got := fmt.Sprint(Overgrown(sizes, rows)); !strings.Contains(got, "may only shrink") {
		t.Errorf("grown: %v", got)
	}
	sizes[0].Now = 599
	if got := fmt.Sprint(Overgrown(sizes, rows)); !strings.Contains(got, "run with -update") {
		t.Errorf("shrunk: %v", got)
	}
	if got := fmt.Sprint(Overgrown(nil, rows)); !strings.Contains(got, "within its limit") {
		t.Errorf("gone: %v", got)
	}
}

func TestPapersBite(t *testing.T) {
	tree := newTree()
	tree.add("README.md", []byte("[a](docs/a.md) [b](docs) [c](https://c.d/e)\n```go\n\tx := 1\n\ty := 2\n```\n"))
	tree.add("docs/b.md", []byte("[up](../README.md)\n"))
	tree.add("go.mod", []byte("require (\n\ta.b/c v1.0.0\n\ta.b/d v1.0.0\n\ta.b/e v1.0.0 // indirect\n)\n"))
	tree.add(dependenciesADR, []byte("| a.b/c | because |\n"))
	tree.add(readmeExample, []byte("package x\n\nfunc f() {\n\tx := 1\n}\n"))
	want := []string{
		"README.md: links to docs/a.md, which is not there",
		dependenciesADR + ": gives no reason for a.b/d",
		`README.md: "y := 2" is not in ` + readmeExample,
	}
	if got := fmt.Sprintf("%q", Papers(tree)); got != fmt.Sprintf("%q", want) {
		t.Errorf("got %s, want %q", got, want)
	}
}
