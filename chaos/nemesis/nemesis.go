package nemesis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Capability is what a driver must be able to do for a fault.
type Capability string

// The capabilities.
const (
	Process Capability = "process" // end, stop and start a node's process
	Network Capability = "network" // drop or delay what nodes and clients send
	Disk    Capability = "disk"    // act on the disk that a node's data is on
	Clock   Capability = "clock"   // change the time that a node sees
	Limits  Capability = "limits"  // take CPU or memory away from a node
	Members Capability = "members" // add machines, or take them away for good
	Admin   Capability = "admin"   // the admin credential, and no access to hosts
	Client  Capability = "client"  // the harness's own clients, and no access to hosts
)

// Kind says how targets are chosen.
type Kind string

// The kinds of targets. Nodes are chosen when the fault comes, not before.
const (
	One       Kind = "one"       // a node, drawn
	Minority  Kind = "minority"  // as many nodes as a majority can spare
	Leader    Kind = "leader"    // the node that leads a key's range, or most ranges of the run
	Placement Kind = "placement" // the node of the placement driver
	All       Kind = "all"       // all nodes at once
	Numbered  Kind = "node"      // the node with an id
	Range     Kind = "range"     // a range of the run
	Harness   Kind = "clients"   // the harness itself
)

// Fault is one way of breaking things.
type Fault struct {
	Name    string
	Text    string // one sentence
	Needs   Capability
	Targets []Kind // that make sense
	// Away: its targets take no part in a quorum while it lasts, so it can lose one.
	Away bool
	// Loses: what its targets had not given to others is gone.
	Loses bool
	// Also are other names for it, and for it with a certain target.
	Also []string
}

func nodes() []Kind { return []Kind{One, Minority, Leader, Placement, All, Numbered} }

// Faults is the vocabulary, in the order in which people read it.
func Faults() []Fault {
	return []Fault{
		{Name: "kill", Needs: Process, Targets: nodes(), Away: true, Also: []string{"crash", "crash-all"},
			Text: "The process ends without notice, and is started again."},
		{Name: "restart", Needs: Process, Targets: nodes(), Away: true,
			Also: []string{"rolling-restart", "retire"},
			Text: "The process is asked to end, ends, and is started again."},
		{Name: "pause", Needs: Process, Targets: nodes(), Away: true,
			Text: "The process stands still with all its connections open, and goes on."},
		{Name: "power-loss", Needs: Disk, Targets: nodes(), Away: true, Loses: true,
			Text: "The machine stops: what was not synced to its disk is gone; it is started again."},
		{Name: "wipe", Needs: Disk, Targets: nodes(), Away: true, Loses: true,
			Text: "The process ends and its data is removed; it comes back as a new node."},

		{Name: "isolate", Needs: Network, Targets: nodes(), Away: true,
			Also: []string{"blackhole", "strand"},
			Text: "Nothing passes between a node and the other nodes."},
		{Name: "cut", Needs: Network, Targets: nodes(), Away: true,
			Text: "What one node sends to one other node is dropped."},
		{Name: "cut-send", Needs: Network, Targets: nodes(), Away: true, Also: []string{"send-only-cut"},
			Text: "What a node sends to other nodes is dropped; it still hears them."},
		{Name: "cut-receive", Needs: Network, Targets: nodes(), Away: true,
			Also: []string{"receive-only-cut"},
			Text: "What other nodes send to a node is dropped; they still hear it."},
		{Name: "cut-client", Needs: Network, Targets: nodes(), Also: []string{"client-cut"},
			Text: "Clients do not reach a node; other nodes do."},
		{Name: "halves", Needs: Network, Targets: []Kind{All}, Away: true,
			Text: "The nodes are parted into two groups that do not reach each other."},
		{Name: "clog", Needs: Network, Targets: nodes(), Away: true,
			Text: "What is sent on some links waits, and arrives late and all at once."},
		{Name: "swizzle", Needs: Network, Targets: []Kind{Minority, All}, Away: true,
			Also: []string{"swizzle-clog"},
			Text: "Links are stopped one after the other and opened again in another order."},
		{Name: "loss", Needs: Network, Targets: nodes(),
			Text: "A part of what is sent is lost."},
		{Name: "delay", Needs: Network, Targets: nodes(), Also: []string{"latency", "jitter"},
			Text: "What is sent arrives late."},
		{Name: "duplicate", Needs: Network, Targets: nodes(), Also: []string{"duplication"},
			Text: "A part of what is sent arrives twice."},
		{Name: "replay", Needs: Network, Targets: nodes(),
			Text: "What was sent long ago arrives again."},
		{Name: "bandwidth", Needs: Network, Targets: nodes(), Also: []string{"slow-net"},
			Text: "Less than is sent can pass."},
		{Name: "lag", Needs: Network, Targets: nodes(),
			Text: "A follower hears nothing for long enough to need a range snapshot."},

		{Name: "disk-stall", Needs: Disk, Targets: nodes(), Away: true, Also: []string{"log-stall"},
			Text: "Writes to the disk do not end until the fault does."},
		{Name: "apply-stall", Needs: Disk, Targets: nodes(),
			Text: "What is committed waits to be applied."},
		{Name: "disk-slow", Needs: Disk, Targets: nodes(), Also: []string{"slow-disk"},
			Text: "The disk is many times slower."},
		{Name: "disk-full", Needs: Disk, Targets: nodes(), Away: true,
			Text: "The disk has no space left, until it has again."},
		{Name: "disk-eio", Needs: Disk, Targets: nodes(), Away: true, Also: []string{"eio", "disk-error"},
			Text: "Operations of the disk fail."},
		{Name: "disk-rot", Needs: Disk, Targets: nodes(), Away: true, Loses: true,
			Also: []string{"bit-rot", "rot"},
			Text: "Bytes on the disk change by themselves."},

		{Name: "clock-jump", Needs: Clock, Targets: nodes(),
			Text: "A node's clock jumps ahead or back."},
		{Name: "clock-rate", Needs: Clock, Targets: nodes(),
			Text: "A node's clock runs faster or slower."},
		{Name: "cpu-starve", Needs: Limits, Targets: nodes(), Also: []string{"cpu"},
			Text: "A node gets a small part of a CPU."},
		{Name: "memory-limit", Needs: Limits, Targets: nodes(), Also: []string{"memory"},
			Text: "A node gets little memory."},

		{Name: "add-node", Needs: Members, Targets: []Kind{Harness},
			Text: "A node joins."},
		{Name: "remove-node", Needs: Members, Targets: nodes(), Away: true, Loses: true,
			Text: "A node goes for good."},

		{Name: "transfer-leader", Needs: Admin, Targets: []Kind{Range}, Also: []string{"transfer"},
			Text: "A range's leadership is handed to another node."},
		{Name: "ping-pong", Needs: Admin, Targets: []Kind{Range},
			Text: "A range's leadership is handed away and back, several times."},
		{Name: "split", Needs: Admin, Targets: []Kind{Range},
			Text: "A range is split; that is not undone."},
		{Name: "split-crash", Needs: Process, Targets: []Kind{Range}, Away: true,
			Text: "A range is split and a node that has it is killed right then."},
		{Name: "split-behind", Needs: Network, Targets: []Kind{Range},
			Text: "A range is split while one of its replicas does not hear of it."},
		{Name: "move", Needs: Admin, Targets: []Kind{Range},
			Text: "A replica is moved to another store."},

		{Name: "disconnect", Needs: Client, Targets: []Kind{Harness},
			Text: "All connections of the run's clients end, with their calls, and are made again."},
		{Name: "hot-key", Needs: Client, Targets: []Kind{Harness},
			Text: "One key is read and written as fast as it goes."},
	}
}

// Find returns the fault that has a name, or has it beside its own.
func Find(name string) (Fault, bool) {
	for _, f := range Faults() {
		if f.Name == name || slices.Contains(f.Also, name) {
			return f, true
		}
	}
	return Fault{}, false
}

// Target says what a fault is aimed at.
type Target struct {
	Kind Kind
	Key  string // of Leader: the range that holds it; empty: most ranges
	Node uint64 // of Numbered
}

// ParseTarget reads "one", "minority", "leader", "leader:KEY", "placement", "all", "node:3", "range" or "clients".
func ParseTarget(s string) (Target, error) {
	kind, rest, more := strings.Cut(s, ":")
	t := Target{Kind: Kind(kind)}
	switch t.Kind {
	case Leader:
		t.Key = rest
		if more && rest == "" {
			return t, fmt.Errorf("target %q names no key", s)
		}
		return t, nil
	case Numbered:
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil || n == 0 {
			return t, fmt.Errorf("target %q names no node: node:3 is one", s)
		}
		t.Node = n
		return t, nil
	case One, Minority, Placement, All, Range, Harness:
		if !more {
			return t, nil
		}
	}
	return t, fmt.Errorf(
		"unknown target %q: one, minority, leader, leader:KEY, placement, all or node:ID", s)
}

// String is what ParseTarget reads.
func (t Target) String() string {
	switch {
	case t.Kind == Leader && t.Key != "":
		return string(t.Kind) + ":" + t.Key
	case t.Kind == Numbered:
		return string(t.Kind) + ":" + strconv.FormatUint(t.Node, 10)
	}
	return string(t.Kind)
}
