package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"unicode/utf8"
)

// Size is a measure of one thing that is over its limit.
type Size struct {
	Kind  string // file, function, lines, interface, exported, parameters
	Where string // what does not change when lines move: file, file:function, folder
	Now   int
	Limit int
	Hard  int // 0: none
}

func (s Size) key() string { return s.Kind + "\t" + s.Where }

// Sizes lists what is over its limit, in the order of the tree.
func Sizes(t *Tree) []Size {
	var out []Size
	long := map[string]int{}
	exported := map[string]int{}
	for _, s := range t.sources {
		if s.test || s.generated || slices.Contains(tableFiles(), s.path) {
			continue
		}
		lines := bytes.Split(bytes.TrimSuffix(s.text, []byte("\n")), []byte("\n"))
		if len(lines) > fileLines {
			out = append(out, Size{"file", s.path, len(lines), fileLines, fileHard})
		}
		widest := 0
		for _, l := range lines {
			n := utf8.RuneCount(l)
			widest = max(widest, n)
			if n > lineColumns && !bytes.HasPrefix(bytes.TrimSpace(l), []byte("//")) {
				long[s.folder]++
			}
		}
		if widest > lineHard {
			out = append(out, Size{"columns", s.path, widest, lineHard, 0})
		}
		out = append(out, declarations(t, s)...)
		exported[s.folder] += exportedNames(s.file)
	}
	for _, f := range t.folders() {
		if long[f] > 0 {
			out = append(out, Size{"lines", f, long[f], 0, 0})
		}
		if exported[f] > exportedMax {
			out = append(out, Size{"exported", f, exported[f], exportedMax, 0})
		}
	}
	return out
}

func declarations(t *Tree, s *source) []Size {
	var out []Size
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			out = append(out, function(t, s, f)...)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if i, ok := spec.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > interfaceMax {
			where := s.path + ":" + spec.Name.Name
			out = append(out, Size{"interface", where, i.Methods.NumFields(), interfaceMax, 0})
		}
		return true
	})
	return out
}

func function(t *Tree, s *source, f *ast.FuncDecl) []Size {
	var out []Size
	where := s.path + ":" + functionName(f)
	if n := f.Type.Params.NumFields(); n > parameterMax {
		out = append(out, Size{"parameters", where, n, parameterMax, 0})
	}
	if f.Body == nil || isTable(f) {
		return out
	}
	if n := t.line(f.End()) - t.line(f.Pos()) + 1; n > functionLines {
		out = append(out, Size{"function", where, n, functionLines, 0})
	}
	return out
}

// isTable says whether a function does nothing but return a literal.
func isTable(f *ast.FuncDecl) bool {
	if len(f.Body.List) != 1 {
		return false
	}
	r, ok := f.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(r.Results) != 1 {
		return false
	}
	_, ok = r.Results[0].(*ast.CompositeLit)
	return ok
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	return receiver(f.Recv.List[0].Type) + "." + f.Name.Name
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// exportedNames counts top-level names; methods belong to their type.
func exportedNames(f *ast.File) int {
	n := 0
	count := func(names ...*ast.Ident) {
		for _, name := range names {
			if name.IsExported() {
				n++
			}
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				count(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					count(spec.Name)
				case *ast.ValueSpec:
					if d.Tok == token.CONST || d.Tok == token.VAR {
						count(spec.Names...)
					}
				}
			}
		}
	}
	return n
}

// Overgrown compares sizes with the ratchet: what is new or has grown, what is over a hard limit, and rows that could
// shrink or go.
func Overgrown(sizes []Size, ratchet map[string]int) []Offence {
	var out []Offence
	seen := map[string]bool{}
	for _, s := range sizes {
		seen[s.key()] = true
		if what := s.judge(ratchet); what != "" {
			out = append(out, Offence{s.Where, s.Kind + ": " + what})
		}
	}
	for key := range ratchet {
		if !seen[key] {
			out = append(out, Offence{key, "is within its limit now: run with -update"})
		}
	}
	slices.SortFunc(out, func(a, b Offence) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// judge says what is wrong with a size that is over its limit: nothing, when the ratchet has its number.
func (s Size) judge(ratchet map[string]int) string {
	known, listed := ratchet[s.key()]
	switch {
	case s.Hard > 0 && s.Now > s.Hard:
		return fmt.Sprintf("%d, and %d is the end: split it", s.Now, s.Hard)
	case !listed:
		return fmt.Sprintf("%d, the limit is %d", s.Now, s.Limit)
	case s.Now > known:
		return fmt.Sprintf("%d, it was %d and may only shrink", s.Now, known)
	case s.Now < known:
		return fmt.Sprintf("%d, better than the %d in ratchet.tsv: run with -update", s.Now, known)
	}
	return ""
}
