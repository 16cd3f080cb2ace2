package tidy

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite ratchet.tsv from the tree")

const ratchetFile = "ratchet.tsv"

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTree holds the tree to the tables. A check reports all its offenders.
func TestTree(t *testing.T) {
	tree, err := Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.sources) < 50 {
		t.Fatalf("found %d Go files only: is this the root?", len(tree.sources))
	}
	for _, o := range tree.broken {
		t.Error(o)
	}
	for _, c := range []struct {
		name  string
		check func(*Tree) []Offence
	}{
		{"layers", Layers}, {"cores", SameCores}, {"calls", Calls}, {"state", State}, {"tests", Tests},
		{"documents", Documents}, {"names", Names}, {"text", Text},
		{"papers", Papers},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, o := range c.check(tree) {
				t.Error(o)
			}
		})
	}
	t.Run("sizes", func(t *testing.T) { checkSizes(t, tree) })
}

func checkSizes(t *testing.T, tree *Tree) {
	sizes := Sizes(tree)
	if *update {
		if err := os.WriteFile(ratchetFile, []byte(FormatRatchet(sizes)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(ratchetFile)
	if err != nil {
		t.Fatal(err)
	}
	ratchet, err := ParseRatchet(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range Overgrown(sizes, ratchet) {
		t.Error(o)
	}
}
