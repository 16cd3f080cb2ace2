package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Calls checks what code does not do outside tests: banned calls, panic outside assertions, init functions.
func Calls(t *Tree) []Offence {
	var out []Offence
	for _, s := range t.sources {
		if s.test || s.generated {
			continue
		}
		out = append(out, selectors(t, s)...)
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.Name.Name == "init" && f.Recv == nil {
				what := "init: do it in New, or in a function that the caller calls"
				out = append(out, Offence{t.at(s, f.Pos()), what})
			}
			_, allowed := panicsAllowed()[s.path+":"+functionName(f)]
			allowed = allowed || withinAny(s.folder, panicFolders())
			if !allowed && !assertions().MatchString(f.Name.Name) {
				out = append(out, panics(t, s, f)...)
			}
		}
	}
	return out
}

func selectors(t *Tree, s *source) []Offence {
	var out []Offence
	names := importNames(s.file)
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, b := range bannedCalls() {
			if names[x.Name] != b.pkg || !regexp.MustCompile(b.name).MatchString(sel.Sel.Name) {
				continue
			}
			if withinAny(s.path, b.except) {
				continue
			}
			what := fmt.Sprintf("%s.%s: use %s", x.Name, sel.Sel.Name, b.instead)
			out = append(out, Offence{t.at(s, sel.Pos()), what})
		}
		return true
	})
	return out
}

// importNames maps the names that a file gives to its imports to their paths.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func panics(t *Tree, s *source, f *ast.FuncDecl) []Offence {
	var out []Offence
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" && !asserts(call) {
			what := "panic: a bug is asserted by invariant(...), all else is an error"
			out = append(out, Offence{t.at(s, call.Pos()), what})
		}
		return true
	})
	return out
}

// asserts says whether a panic's text begins with "invariant".
func asserts(call *ast.CallExpr) bool {
	if len(call.Args) != 1 {
		return false
	}
	e := call.Args[0]
	if c, ok := e.(*ast.CallExpr); ok && len(c.Args) > 0 {
		e = c.Args[0]
	}
	lit, ok := e.(*ast.BasicLit)
	return ok && strings.HasPrefix(strings.Trim(lit.Value, "\"`"), "invariant")
}

// State checks that packages keep no variables that can change.
func State(t *Tree) []Offence {
	var out []Offence
	for _, s := range t.sources {
		if s.test || s.generated || withinAny(s.folder, stateAllowed()) {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && !embedded(g, v) {
					out = append(out, variables(t, s, v)...)
				}
			}
		}
	}
	return out
}

func variables(t *Tree, s *source, v *ast.ValueSpec) []Offence {
	var out []Offence
	for i, name := range v.Names {
		_, known := varsAllowed()[s.folder+" "+name.Name]
		if name.Name == "_" || known || (i < len(v.Values) && constant(v.Values[i])) {
			continue
		}
		const instead = "make it a constant, a function, or a field"
		what := fmt.Sprintf("var %s: package-level state; %s", name.Name, instead)
		out = append(out, Offence{t.at(s, name.Pos()), what})
	}
	return out
}

// constant says whether a variable's first value is one that nobody changes: an error sentinel, or the result of a
// function that begins with Must or must.
func constant(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		if !ok {
			return false
		}
		sentinel := x.Name == "errors" && f.Sel.Name == "New" || x.Name == "fmt" && f.Sel.Name == "Errorf"
		return sentinel || strings.HasPrefix(f.Sel.Name, "Must")
	case *ast.Ident:
		return strings.HasPrefix(f.Name, "must")
	}
	return false
}

func embedded(g *ast.GenDecl, v *ast.ValueSpec) bool {
	embeds := func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }
	for _, c := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if c != nil && slices.ContainsFunc(c.List, embeds) {
			return true
		}
	}
	return false
}

// Tests checks what tests do not do: sleep, or skip without naming what they need.
func Tests(t *Tree) []Offence {
	var out []Offence
	for _, s := range t.sources {
		if !s.test {
			continue
		}
		names := importNames(s.file)
		discards := rapidFunctions(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if what := testCall(s, names, discards, call); what != "" {
				out = append(out, Offence{t.at(s, call.Pos()), what})
			}
			return true
		})
	}
	return out
}

func testCall(s *source, names map[string]string, discards []ast.Node, call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	switch sel.Sel.Name {
	case "Sleep":
		if names[x.Name] == "time" && !within(s.folder, "chaos") && !virtualTime(s) {
			return "time.Sleep: wait for the event, or use testing/synctest"
		}
	case "SkipNow", "Skip", "Skipf":
		discard := slices.ContainsFunc(discards, func(n ast.Node) bool {
			return n.Pos() <= call.Pos() && call.Pos() < n.End()
		})
		if slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) && !discard && !capability(call) {
			return `skips: say which capability is missing: "needs ..."`
		}
	}
	return ""
}

// rapidFunctions are those that take a *rapid.T: to skip there is to discard one draw.
func rapidFunctions(f *ast.File) []ast.Node {
	var out []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		var params *ast.FieldList
		switch n := n.(type) {
		case *ast.FuncDecl:
			params = n.Type.Params
		case *ast.FuncLit:
			params = n.Type.Params
		default:
			return true
		}
		for _, p := range params.List {
			if star, ok := p.Type.(*ast.StarExpr); ok {
				sel, ok := star.X.(*ast.SelectorExpr)
				if pkg, isName := selPackage(sel, ok); isName && pkg == "rapid" && sel.Sel.Name == "T" {
					out = append(out, n)
				}
			}
		}
		return true
	})
	return out
}

func selPackage(sel *ast.SelectorExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return x.Name, true
}

// virtualTime says whether a test may sleep because its file's tests run in a bubble of testing/synctest.
func virtualTime(s *source) bool {
	synctest := func(i imported) bool { return i.path == "testing/synctest" }
	return slices.ContainsFunc(s.imports, synctest)
}

// capability says whether a skip names what it needs.
func capability(call *ast.CallExpr) bool {
	if len(call.Args) == 0 {
		return false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return false
	}
	return strings.HasPrefix(strings.Trim(lit.Value, "\"`"), "needs ")
}
