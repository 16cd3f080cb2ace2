package tidy

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// Layers checks what packages import.
func Layers(t *Tree) []Offence {
	var out []Offence
	for _, s := range t.sources {
		for _, i := range s.imports {
			for _, what := range checkImport(s, i.path) {
				out = append(out, Offence{fmt.Sprintf("%s:%d", s.path, i.line), what})
			}
		}
		if slices.Contains(pure(), s.folder) && !s.test {
			out = append(out, noGoroutines(t, s)...)
		}
		if s.folder != "." && component(s.folder) == nil && !within(s.folder, "tools") {
			out = append(out, Offence{s.path, "lies on no floor: see floors"})
		}
	}
	return out
}

func component(folder string) *floor {
	for _, f := range floors() {
		if within(folder, f.path) {
			return &f
		}
	}
	return nil
}

func checkImport(s *source, target string) []string {
	var out []string
	for _, r := range restrictions() {
		if target == r.target || strings.HasPrefix(target, r.target+"/") {
			if !withinAny(s.folder, r.only) && !(s.test && r.target == "testing") {
				out = append(out, fmt.Sprintf("imports %s: %s", target, r.why))
			}
		}
	}
	if !s.test && slices.Contains(pure(), s.folder) && slices.Contains(impure(), target) {
		const instead = "take ticks, a seeded source, or hand back an effect"
		out = append(out, fmt.Sprintf("is PURE and imports %s: %s", target, instead))
	}
	folder, own := ours(target)
	if own {
		out = append(out, checkFloor(s, folder)...)
	}
	for _, r := range importRules() {
		if !within(s.folder, r.from) || s.test {
			continue
		}
		if own && r.only != nil && !withinAny(folder, r.only) && !within(folder, r.from) {
			out = append(out, fmt.Sprintf("imports %s: %s", folder, r.why))
		}
		foreign := !own && strings.Contains(strings.SplitN(target, "/", 2)[0], ".")
		begins := func(prefix string) bool { return strings.HasPrefix(target, prefix) }
		if foreign && r.others != nil && !slices.ContainsFunc(r.others, begins) {
			out = append(out, fmt.Sprintf("imports %s: %s", target, r.why))
		}
	}
	return out
}

func checkFloor(s *source, folder string) []string {
	from, to := component(s.folder), component(folder)
	switch {
	case to == nil:
		return []string{fmt.Sprintf("imports %s, which lies on no floor", folder)}
	case from == nil || from.path == to.path:
		return nil
	case from.height > to.height:
		return nil
	case from.height == to.height:
		const instead = "declare the interface you need; kv/node joins them"
		return []string{fmt.Sprintf("imports its sibling %s: %s", folder, instead)}
	}
	return []string{fmt.Sprintf("imports %s from a higher floor", folder)}
}

func noGoroutines(t *Tree, s *source) []Offence {
	var out []Offence
	ast.Inspect(s.file, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			out = append(out, Offence{t.at(s, g.Pos()), "is PURE and starts a goroutine"})
		}
		return true
	})
	return out
}

// SameCores checks that the binary and the simulator run the same state machines.
func SameCores(t *Tree) []Offence {
	imports := map[string][]string{}
	tests := map[string][]string{}
	for _, s := range t.sources {
		for _, i := range s.imports {
			if folder, ok := ours(i.path); ok && strings.HasSuffix(s.path, "_test.go") {
				tests[s.folder] = append(tests[s.folder], folder)
			} else if ok {
				imports[s.folder] = append(imports[s.folder], folder)
			}
		}
	}
	var out []Offence
	for _, root := range []string{"cmd/vipkv", "chaos/sim"} {
		seen := map[string]bool{}
		todo := append([]string{root}, tests[root]...)
		for len(todo) > 0 {
			at := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !seen[at] {
				seen[at] = true
				todo = append(todo, imports[at]...)
			}
		}
		for _, core := range cores() {
			if !seen[core] {
				out = append(out, Offence{root, "does not run " + core})
			}
		}
	}
	return out
}
