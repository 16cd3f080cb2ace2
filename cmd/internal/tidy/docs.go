package tidy

import (
	"bytes"
	"fmt"
	"go/build/constraint"
	"path"
	"slices"
	"strings"
)

// Documents checks that packages explain themselves: each has a comment that go doc shows, and those of the design have
// a doc.go that answers its questions.
func Documents(t *Tree) []Offence {
	var out []Offence
	for _, folder := range t.folders() {
		if within(folder, "tools") {
			continue
		}
		comments, inDocGo, kind := packageComments(t, folder)
		switch {
		case kind == "":
			continue // generated, or tests alone
		case len(comments) == 0:
			out = append(out, Offence{folder, "has no package comment that go doc shows"})
			continue
		case len(comments) > 1:
			out = append(out, Offence{folder, "has more than one package comment: go doc joins them"})
		}
		want := "Package " + kind + " "
		if kind == "main" {
			want = "Command " + path.Base(folder) + " "
		}
		if !strings.HasPrefix(comments[0], want) {
			out = append(out, Offence{folder, fmt.Sprintf("its comment must begin with %q", want)})
		}
		if slices.Contains(documented(), folder) {
			out = append(out, questionsOf(folder, comments[0], inDocGo)...)
		}
	}
	return out
}

func questionsOf(folder, comment string, inDocGo bool) []Offence {
	var out []Offence
	if !inDocGo {
		out = append(out, Offence{folder, "its comment belongs in doc.go"})
	}
	for _, q := range questions() {
		if !q.answer.MatchString(comment) {
			out = append(out, Offence{folder + "/doc.go", "does not answer: " + q.name})
		}
	}
	return out
}

// packageComments are those of a folder's files that an ordinary build takes.
func packageComments(t *Tree, folder string) (comments []string, inDocGo bool, name string) {
	for _, s := range t.sources {
		if s.folder != folder || s.generated || strings.HasSuffix(s.path, "_test.go") || !ordinary(s) {
			continue
		}
		name = s.file.Name.Name
		if s.file.Doc == nil {
			continue
		}
		if text := s.file.Doc.Text(); strings.TrimSpace(text) != "" {
			comments = append(comments, text)
			inDocGo = inDocGo || path.Base(s.path) == "doc.go"
		}
	}
	return comments, inDocGo, name
}

// ordinary says whether a file is part of a build on Linux without tags.
func ordinary(s *source) bool {
	for line := range bytes.Lines(s.text) {
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("package ")) {
			break
		}
		if !constraint.IsGoBuild(string(line)) {
			continue
		}
		e, err := constraint.Parse(string(line))
		if err != nil {
			return true
		}
		return e.Eval(func(tag string) bool {
			return tag == "linux" || tag == "unix" || tag == "amd64" || strings.HasPrefix(tag, "go1")
		})
	}
	return true
}

// Names checks the names of folders and files.
func Names(t *Tree) []Offence {
	var out []Offence
	for _, s := range t.sources {
		base := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.path), ".go"), "_test")
		if badNames().MatchString(base) || badNames().MatchString(path.Base(s.folder)) {
			out = append(out, Offence{s.path, "a name that says nothing: name it after what it does"})
		}
	}
	return out
}

// Text checks all text files for what must not be in them.
func Text(t *Tree) []Offence {
	var out []Offence
	for name, text := range t.texts {
		// The table of forbidden text and its test name what they forbid; sums are noise.
		if within(name, "cmd/internal/tidy") || strings.HasSuffix(name, "go.sum") {
			continue
		}
		for _, f := range forbiddenText() {
			for _, at := range f.text.FindAllIndex(text, -1) {
				found := bytes.TrimSpace(text[at[0]:at[1]])
				line := 1 + bytes.Count(text[:at[1]], []byte("\n"))
				what := fmt.Sprintf("%q: %s", found, f.why)
				out = append(out, Offence{fmt.Sprintf("%s:%d", name, line), what})
			}
		}
	}
	slices.SortFunc(out, func(a, b Offence) int { return strings.Compare(a.String(), b.String()) })
	return out
}
