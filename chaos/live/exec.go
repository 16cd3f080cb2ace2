package live

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// Template is a fault as commands for sh. In each, {{.ID}}, {{.Host}}, {{.ClientAddress}}, {{.PeerAddress}},
// {{.HTTPAddress}}, {{.Locality.zone}} and {{.Vars.name}} are of the node, {{.Peers}} are the other nodes, {{.Seconds}}
// is how long the fault lasts, and quote makes one word of its argument.
type Template struct {
	Do    string `yaml:"do"`    // injects it
	Undo  string `yaml:"undo"`  // ends it; must be harmless when there is nothing to end
	Check string `yaml:"check"` // exits with 0 while it is there; empty: the harness looks
}

// Exec injects faults by commands that its user writes: the way to whatever the harness does not know.
type Exec struct {
	Faults map[string]Template
	// Over is put before each command, as words: none runs it here by sh, ["ssh", "-oBatchMode=yes", "{{.Host}}"] on
	// the node's host by its sh. Words are templates.
	Over []string
}

// Name is "exec", or "ssh" when commands run over something.
func (d *Exec) Name() string {
	if len(d.Over) > 0 {
		return "ssh"
	}
	return "exec"
}

// Can tells whether there is a template.
func (d *Exec) Can(fault string) bool { return d.Faults[fault].Do != "" }

// Prepare renders the templates.
func (d *Exec) Prepare(_ context.Context, a Aim) (Injection, error) {
	t := d.Faults[a.Fault]
	do, err := d.argv(a, "do", t.Do)
	if err != nil {
		return Injection{}, err
	}
	undo, err := d.argv(a, "undo", t.Undo)
	if err != nil {
		return Injection{}, err
	}
	i := Injection{
		Text:   strings.Join(do, " "),
		Undo:   Undo{Text: strings.Join(undo, " "), Run: undo},
		Inject: func(ctx context.Context) error { _, err := command(ctx, do); return err },
	}
	if t.Check == "" {
		return i, nil
	}
	check, err := d.argv(a, "check", t.Check)
	if err != nil {
		return Injection{}, err
	}
	i.Bit = func(ctx context.Context) (bool, string) {
		out, err := command(ctx, check)
		if err != nil {
			return false, "its check: " + err.Error()
		}
		return true, strings.TrimSpace("its check succeeds " + out)
	}
	return i, nil
}

// argv is the command for one template.
func (d *Exec) argv(a Aim, what, text string) ([]string, error) {
	script, err := render(a.Fault+"."+what, text, a)
	if err != nil {
		return nil, err
	}
	if len(d.Over) == 0 {
		return []string{"sh", "-c", script}, nil
	}
	var argv []string
	for _, word := range d.Over {
		w, err := render("over", word, a)
		if err != nil {
			return nil, err
		}
		argv = append(argv, w)
	}
	return append(argv, "sh -c "+quote(script)), nil
}

// validate tries each template on a node that is not there.
func (d *Exec) validate(vars map[string]string) error {
	n := Node{ID: 1, Store: 1, Host: "127.0.0.1", ClientAddress: "127.0.0.1:1",
		PeerAddress: "127.0.0.1:2", HTTPAddress: "127.0.0.1:3", Vars: vars}
	for _, fault := range slices.Sorted(maps.Keys(d.Faults)) {
		t := d.Faults[fault]
		if t.Do == "" || t.Undo == "" {
			return fmt.Errorf("fault %s: do and undo must both be given", fault)
		}
		for what, text := range map[string]string{"do": t.Do, "undo": t.Undo, "check": t.Check} {
			if _, err := d.argv(Aim{Fault: fault, Node: n}, what, text); err != nil {
				return fmt.Errorf("fault %s: %w", fault, err)
			}
		}
	}
	return nil
}

// plain is what an address may consist of before a command takes it: nothing that a shell acts on.
func plain() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9\[][A-Za-z0-9_.:\[\]%-]*$`) }

// render fills a template in. What the cluster says of its nodes must be plain: it ends in a shell.
func render(name, text string, a Aim) (string, error) {
	fine := plain()
	for _, n := range append([]Node{a.Node}, a.Peers...) {
		said := []string{n.Host, n.ClientAddress, n.PeerAddress, n.HTTPAddress}
		for _, s := range append(said, slices.Collect(maps.Values(n.Locality))...) {
			if s != "" && !fine.MatchString(s) {
				return "", fmt.Errorf("%v calls itself %q, which is not put into a command", n, s)
			}
		}
	}
	words := template.FuncMap{"quote": quote}
	t, err := template.New(name).Option("missingkey=error").Funcs(words).Parse(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, struct {
		Node
		Peers   []Node
		Fault   string
		Seconds int
	}{a.Node, a.Peers, a.Fault, int(math.Ceil(a.Hold.Seconds()))})
	return out.String(), err
}

// quote makes one word of s, for sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
