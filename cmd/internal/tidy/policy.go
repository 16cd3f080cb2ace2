package tidy

import "regexp"

const module = "github.com/vipkv/vipkv"

// floor is a group of packages that may import lower groups only.
type floor struct {
	path   string // of the topmost folder
	height int
}

// floors are the layers of the product: a package imports its own component or a lower floor.
func floors() []floor {
	return []floor{
		{"cmd", 5},
		{"chaos", 4},
		{"kv", 3},
		{"raftstore", 2}, {"txn", 2}, {"placement", 2}, // siblings: they never import each other
		{"encryption", 1},
		{"proto", 0},
	}
}

// importRule narrows what one package (and what lies below it) may import.
type importRule struct {
	from   string   // folder
	only   []string // the folders of ours that it may import; nil: no limit by this rule
	others []string // the foreign modules that it may import, by prefix; nil: no limit by this rule
	why    string
}

func importRules() []importRule {
	proto := []string{"proto"}
	return []importRule{
		{"kv/client", []string{"proto", "kv/client"}, []string{"google.golang.org/", "golang.org/x/"},
			"programs of users import it: it brings proto and grpc only"},
		{"raftstore/replica", proto, nil, "the pure core knows no engine, no transport and no shell"},
		{"raftstore/engine", []string{"proto", "raftstore/engine"}, nil, "ordered bytes, and nothing about ranges"},
		{"raftstore/transport", proto, nil, "moves messages and knows no replica"},
		{"txn/mvcc", proto, nil, "the pure evaluation of commands"},
		{"placement/schedule", proto, nil, "the pure scheduler"},
		{"placement/tso", proto, nil, "the oracle knows no registry"},
		{"encryption", []string{"proto", "encryption"}, nil, "keys and envelopes, and nothing about storage"},
		{"kv/tenant", []string{"proto", "encryption", "kv/tenant"}, nil, "the registry of tenants knows no server"},
		{"kv/gateway", []string{"proto", "txn", "encryption", "kv/tenant", "kv/gateway"}, nil,
			"the front door reaches ranges through interfaces that it declares"},
	}
}

// restricted lists what only some folders import, tests included.
type restricted struct {
	target string // import path, or prefix of one
	only   []string
	why    string
}

func restrictions() []restricted {
	return []restricted{
		{"github.com/cockroachdb/pebble", []string{"raftstore/engine"}, "raftstore/engine hides the engine's library"},
		{"go.etcd.io/raft", []string{"raftstore", "chaos"}, "Raft stays inside raftstore; the simulator drives it"},
		{module + "/chaos", []string{"chaos", "cmd/vipkv"}, "chaos drives everything and nothing is built on it"},
		{"github.com/spf13/cobra", []string{"cmd"}, "flags end in cmd: packages take a Config"},
		{"go.yaml.in/yaml", []string{"cmd"}, "files of configuration are decoded in cmd"},
		{"testing", []string{}, "only tests, and packages whose name ends in test"},
	}
}

// pure lists the state machines: time enters as ticks, randomness as a seeded source, disk and network as effects.
func pure() []string {
	return []string{"proto/authz", "proto/keys", "proto/storage", "raftstore/replica", "txn/mvcc", "placement/schedule"}
}

// impure lists what a pure package does not import directly.
func impure() []string {
	return []string{
		"time", "net", "os", "sync", "sync/atomic", "context", "math/rand", "math/rand/v2", "crypto/rand",
		"log", "log/slog", "io/fs", "os/exec", "net/http",
	}
}

// cores are the packages that the product and the simulator must both run.
func cores() []string { return []string{"raftstore/replica"} }

// Limits of sizes. A size above its limit needs a row in ratchet.tsv; none may pass a hard limit.
const (
	fileLines     = 500
	fileHard      = 800
	functionLines = 70
	lineColumns   = 100 // of code; comments may be as wide as lineHard
	lineHard      = 120
	interfaceMax  = 7
	exportedMax   = 60
	parameterMax  = 5
)

// tableFiles hold data in the form of code and are free of limits of length.
func tableFiles() []string {
	return []string{"proto/rpcerr/table.go", "proto/authz/table.go", "cmd/internal/tidy/policy.go"}
}

// banned is a call, or a whole package, that is not used outside tests.
type banned struct {
	pkg     string // import path
	name    string // regular expression for the name in it
	except  []string
	instead string
}

func bannedCalls() []banned {
	return []banned{
		{"fmt", `^Print(f|ln)?$`, []string{"cmd"}, "return a value, write to an io.Writer, or log by the injected slog.Logger"},
		{"log", `.`, nil, "an injected *slog.Logger"},
		{"log/slog", `^(Debug|Info|Warn|Error|Log|Default|SetDefault)(Context|Attrs)?$`, nil, "an injected *slog.Logger"},
		{"os", `^Exit$`, []string{"cmd/vipkv/main.go"}, "return an error; main turns it into an exit code"},
		{"os", `^(Getenv|LookupEnv|Environ|ExpandEnv)$`, []string{"cmd", "chaos"}, "a field of Config"},
		{"time", `^Sleep$`, []string{"chaos"}, "a timer in a select with ctx.Done()"},
		{"time", `^Tick$`, nil, "a time.Ticker that its owner stops"},
	}
}

// assertions are the functions that may panic: a bug, never an error value.
func assertions() *regexp.Regexp { return regexp.MustCompile(`^(invariant|must|Must)`) }

// panicFolders may panic anywhere: whoever runs them is a test, which reports it with its seed.
func panicFolders() []string { return []string{"chaos"} }

// panicsAllowed are other functions that panic, by file, with the reason.
func panicsAllowed() map[string]string {
	return map[string]string{
		"placement/schedule/planner.go:New":      "a config that Validate refuses is the caller's bug",
		"raftstore/engine/mem.go:MemDisk.Crash":  "called by tests only; a wrong number is the test's bug",
		"raftstore/engine/mem.go:applyStep":      "asserts that the batch was checked",
		"raftstore/metrics.go:raftLogger.Fatal":  "what raft demands of its logger",
		"raftstore/metrics.go:raftLogger.Fatalf": "what raft demands of its logger",
		"raftstore/metrics.go:raftLogger.Panic":  "what raft demands of its logger",
		"raftstore/metrics.go:raftLogger.Panicf": "what raft demands of its logger",
		"txn/executor.go:NewExecutor":            "a config that Validate refuses is the caller's bug",
		"raftstore/replica/core.go:Core.guard":   "raises again what is not a failed read of the log",
		"raftstore/replica/log.go:raftLog.fail":  "raft cannot return an error from a read: Core.guard catches it",
	}
}

// varsAllowed are package-level variables that are allowed although they can be changed, by folder and name.
func varsAllowed() map[string]string {
	return map[string]string{}
}

// stateAllowed are the folders that may keep package-level state.
func stateAllowed() []string { return []string{"proto/fault", "proto/fault/point"} }

// badNames are names of folders and files that say nothing.
func badNames() *regexp.Regexp {
	return regexp.MustCompile(`^(util|utils|common|misc|helper|helpers|base|shared)$`)
}

// documented lists the packages whose doc.go answers the six questions.
func documented() []string {
	return []string{
		"chaos", "encryption",
		"kv/client", "kv/gateway", "kv/node", "kv/tenant",
		"placement", "placement/schedule", "placement/tso",
		"raftstore", "raftstore/engine", "raftstore/replica", "raftstore/transport",
		"txn", "txn/mvcc",
	}
}

// question is one that a doc.go answers.
type question struct {
	name   string
	answer *regexp.Regexp
}

func questions() []question {
	return []question{
		{"what it is not", regexp.MustCompile(`(?is)what it is not|\bnot\b`)},
		{"the invariants, I1 and on", regexp.MustCompile(`(?s)[Ii]nvariant.*\bI1\b`)},
		{"who owns which goroutine and lock", regexp.MustCompile(`(?i)goroutine|lock`)},
		{"how to test it", regexp.MustCompile(`(?i)how to test it|go test`)},
	}
}

// forbidden is text that appears nowhere in the tree.
type forbidden struct {
	text *regexp.Regexp
	why  string
}

func forbiddenText() []forbidden {
	return []forbidden{
		{regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`), "finish it, or say in the documents that it is not there"},
		{regexp.MustCompile(`(?m)(^|[\s"'=(:` + "`" + `])/(work|home|root|tmp)/`), "a path of one machine"},
		{regexp.MustCompile(`(proxy\.golang|sum\.golang|deb\.debian|registry\.npmjs|pypi)\.(org|com)\b`), "a package host"},
		{regexp.MustCompile(`[Ii]ssues? #?\d+\b`), "say what is, not where it was asked for"},
	}
}
