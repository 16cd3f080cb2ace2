package nemesis_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/nemesis"
)

func TestVocabulary(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range nemesis.Faults() {
		for _, name := range append([]string{f.Name}, f.Also...) {
			if seen[name] || name == "" || strings.ToLower(name) != name || strings.ContainsAny(name, " _") {
				t.Errorf("name %q", name)
			}
			seen[name] = true
			if got, ok := nemesis.Find(name); !ok || got.Name != f.Name {
				t.Errorf("%q is %q", name, got.Name)
			}
		}
		if strings.Count(f.Text, ".") != 1 || !strings.HasSuffix(f.Text, ".") {
			t.Errorf("%s: %q is not one sentence", f.Name, f.Text)
		}
		if f.Needs == "" || len(f.Targets) == 0 {
			t.Errorf("%s needs %q and is aimed at %v", f.Name, f.Needs, f.Targets)
		}
		if f.Loses && !f.Away {
			t.Errorf("%s loses data of nodes that are not away", f.Name)
		}
	}
	if _, ok := nemesis.Find("earthquake"); ok {
		t.Error("found what is not there")
	}
}

func TestParseTarget(t *testing.T) {
	for _, good := range []string{"one", "minority", "leader", "leader:a:b", "placement", "all", "node:12", "range",
		"clients"} {
		if got, err := nemesis.ParseTarget(good); err != nil || got.String() != good {
			t.Errorf("%q: %v %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "two", "leader:", "node", "node:0", "node:x", "one:1"} {
		if got, err := nemesis.ParseTarget(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}

// All that inject faults use the names of the vocabulary: the classes of the simulator, and the records of faults of
// the others.
func TestOthersUseTheVocabulary(t *testing.T) {
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, name := range append(classes(file), records(file)...) {
			found++
			if _, ok := nemesis.Find(name); !ok {
				t.Errorf("%s injects %q, which is not in the vocabulary", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10 {
		t.Errorf("only %d names found: have the sources changed their form?", found)
	}
}

// classes are the names in the tables of the simulator.
func classes(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || !returnsClasses(f) {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			row, ok := n.(*ast.CompositeLit)
			if ok && row.Type == nil && len(row.Elts) > 0 {
				names = append(names, literal(row.Elts[0])...)
			}
			return true
		})
	}
	return names
}

// records are the names that are written into history.Fault.
func records(file *ast.File) (names []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if of, ok := lit.Type.(*ast.SelectorExpr); !ok || of.Sel.Name != "Fault" {
			return true
		}
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if key, isName := keyOf(kv, ok); isName && key == "Name" {
				names = append(names, literal(kv.Value)...)
			}
		}
		return true
	})
	return names
}

func keyOf(kv *ast.KeyValueExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	id, ok := kv.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

func literal(e ast.Expr) []string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return nil
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return nil
	}
	return []string{s}
}

// returnsClasses tells whether a function returns a table of the simulator's classes.
func returnsClasses(f *ast.FuncDecl) bool {
	if f.Type.Results == nil || len(f.Type.Results.List) != 1 {
		return false
	}
	list, ok := f.Type.Results.List[0].Type.(*ast.ArrayType)
	if !ok {
		return false
	}
	name, ok := list.Elt.(*ast.Ident)
	return ok && name.Name == "faultClass"
}
