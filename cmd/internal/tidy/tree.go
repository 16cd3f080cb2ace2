package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Offence is one place where the tree breaks a rule.
type Offence struct {
	Where string // file:line, or a folder
	What  string
}

func (o Offence) String() string { return o.Where + ": " + o.What }

// source is one Go file.
type source struct {
	path      string // from the root, with slashes
	folder    string
	test      bool // a test, or part of a package that exists for tests
	generated bool
	text      []byte
	file      *ast.File
	imports   []imported
}

type imported struct {
	path string
	line int
}

// Tree is all that the checks read.
type Tree struct {
	fset    *token.FileSet
	sources []*source
	texts   map[string][]byte // all text files
	broken  []Offence         // files that do not parse
}

func newTree() *Tree { return &Tree{fset: token.NewFileSet(), texts: map[string][]byte{}} }

// Load reads the tree below root, without what git does not keep. It parses each Go file whatever its build tags.
func Load(root string) (*Tree, error) {
	t := newTree()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", ".vipkv"}, rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == ".git" { // in a linked work tree it is a file
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		t.add(rel, text)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	slices.SortFunc(t.sources, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	return t, nil
}

func (t *Tree) add(name string, text []byte) {
	if !bytes.Contains(text[:min(len(text), 8000)], []byte{0}) {
		t.texts[name] = text
	}
	if !strings.HasSuffix(name, ".go") {
		return
	}
	s := &source{path: name, folder: path.Dir(name), text: text}
	base := path.Base(s.folder)
	s.test = strings.HasSuffix(name, "_test.go") || (base != "test" && strings.HasSuffix(base, "test"))
	file, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.broken = append(t.broken, Offence{name, "does not parse: " + err.Error()})
		return
	}
	s.file, s.generated = file, ast.IsGenerated(file)
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.broken = append(t.broken, Offence{name, "bad import " + spec.Path.Value})
			continue
		}
		s.imports = append(s.imports, imported{path: p, line: t.line(spec.Pos())})
	}
	t.sources = append(t.sources, s)
}

func (t *Tree) line(p token.Pos) int { return t.fset.Position(p).Line }

func (t *Tree) at(s *source, p token.Pos) string { return fmt.Sprintf("%s:%d", s.path, t.line(p)) }

// folders lists the folders that hold Go files, in order.
func (t *Tree) folders() []string {
	var all []string
	for _, s := range t.sources {
		all = append(all, s.folder)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// within says whether a path is the folder or lies below it.
func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func withinAny(name string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(name, f) })
}

// ours turns an import path into a folder of this module.
func ours(importPath string) (folder string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}
