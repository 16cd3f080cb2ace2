package tidy

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	architectureLines = 300
	dependenciesADR   = "docs/adr/0002-dependencies.md"
	readmeExample     = "kv/client/example_test.go"
)

// Papers checks what a machine can check of the documents: links lead somewhere, every direct dependency has its
// reason, the README's Go code is the example that runs as a test.
func Papers(t *Tree) []Offence {
	out := links(t)
	if n := bytes.Count(t.texts["docs/architecture.md"], []byte("\n")); n >= architectureLines {
		what := fmt.Sprintf("%d lines; it stays below %d", n, architectureLines)
		out = append(out, Offence{"docs/architecture.md", what})
	}
	for _, mod := range append(direct(t.texts["go.mod"]), tools(t.texts["tools/go.mod"])...) {
		if !bytes.Contains(t.texts[dependenciesADR], []byte(mod)) {
			out = append(out, Offence{dependenciesADR, "gives no reason for " + mod})
		}
	}
	example := lines(t.texts[readmeExample])
	for _, line := range goCode(t.texts["README.md"]) {
		if !slices.Contains(example, line) {
			out = append(out, Offence{"README.md", fmt.Sprintf("%q is not in %s", line, readmeExample)})
		}
	}
	return out
}

// links finds relative links in Markdown that lead nowhere.
func links(t *Tree) []Offence {
	var out []Offence
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for name, text := range t.texts {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			to := path.Join(path.Dir(name), string(m[1]))
			if !t.exists(to) {
				out = append(out, Offence{name, "links to " + to + ", which is not there"})
			}
		}
	}
	return out
}

func (t *Tree) exists(name string) bool {
	for have := range t.texts {
		if within(have, name) {
			return true
		}
	}
	return false
}

// direct lists the modules that a go.mod requires directly.
func direct(mod []byte) []string {
	var out []string
	require := regexp.MustCompile(`^\t(\S+) v\S+$`)
	for _, line := range strings.Split(string(mod), "\n") {
		if m := require.FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

// tools lists the tools of a go.mod.
func tools(mod []byte) []string {
	_, block, _ := strings.Cut(string(mod), "tool (")
	block, _, _ = strings.Cut(block, ")")
	return strings.Fields(block)
}

// lines are the lines of a text without indentation.
func lines(text []byte) []string {
	var out []string
	for line := range bytes.Lines(text) {
		out = append(out, string(bytes.TrimSpace(line)))
	}
	return out
}

// goCode are the lines of the Go blocks of a Markdown text.
func goCode(text []byte) []string {
	var out []string
	in := false
	for _, line := range lines(text) {
		switch {
		case line == "```go":
			in = true
		case line == "```":
			in = false
		case in && line != "":
			out = append(out, line)
		}
	}
	return out
}
