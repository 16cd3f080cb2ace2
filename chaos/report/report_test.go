package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/report"
)

func page(t *testing.T, r *report.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elements parses a page and counts its elements; tags that do not match fail the test.
func elements(t *testing.T, text string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	count := map[string]int{}
	var open []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			open = append(open, x.Name.Local)
			count[x.Name.Local]++
			for _, a := range x.Attr {
				if a.Name.Local == "class" {
					for _, c := range strings.Fields(a.Value) {
						count[x.Name.Local+"."+c]++
					}
				}
			}
		case xml.EndElement:
			if last := open[len(open)-1]; last != x.Name.Local {
				t.Fatalf("</%s> ends <%s>", x.Name.Local, last)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("never closed: %q", open)
	}
	return count
}

// TestPage: everything of a run is there, drawn as often as it should be.
func TestPage(t *testing.T) {
	r := demo(3000, true)
	text := page(t, r)
	n := elements(t, text)
	for what, want := range map[string]int{
		"rect.fault": 6, "rect.unseen": 1, "rect.open": 1, "rect.band": 3 * 6, "details.anomaly": 1, "svg": 5,
		"header.fail": 1, "path.dot": 1, "path.mark": 2, "path.line": 6,
	} {
		if n[what] != want {
			t.Errorf("%d %s, not %d", n[what], what, want)
		}
	}
	for _, want := range []string{"81723", "G-single-realtime", "so T1 comes before T2", "1204 packets", "4.31s",
		"raftstore.snapshot-refused", "-seed 81723", "range 4 would have lost its quorum", "range 2 was split",
		"linearizable of register", "range-8", "5 of 6"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	dots := regexp.MustCompile(`class="dot ok" d="([^"]*)"`).FindStringSubmatch(text)[1]
	ok := 0
	for i := range r.Ops {
		if r.Ops[i].Type == history.OK {
			ok++
		}
	}
	if got := strings.Count(dots, "M"); got != ok {
		t.Errorf("%d dots for %d operations", got, ok)
	}
}

// TestOffline: the page asks nothing of anybody and runs nothing.
func TestOffline(t *testing.T) {
	text := page(t, demo(500, true))
	if found := regexp.MustCompile(`(?i)https?://|<script|<link|<img|\bsrc=|@import|url\(|\son\w+=`).FindString(text); found != "" {
		t.Fatalf("the page contains %q", found)
	}
}

// hostile is a run with the same text wherever text can be.
func hostile(evil string) *report.Run {
	op := history.Op{Kind: history.Write, Workload: evil, Tenant: evil, Key: evil, Arg: evil, Err: evil, Endpoint: evil,
		Type: history.Info, Return: 5e9}
	return &report.Run{
		Name: evil, Aborted: evil, Problems: []string{evil}, Doubts: []string{evil}, Reproduce: []string{evil},
		Facts: []report.Fact{{evil, evil}}, Events: []report.Event{{1, evil}}, Probes: []report.Probe{{evil, 0}, {evil, 2}},
		Budgets: []report.Budget{{evil, evil, evil, false}}, Skipped: []report.Skipped{{evil, evil, evil}},
		Ops:    []history.Op{op, op},
		Faults: []history.Fault{{Name: evil, Target: evil, Evidence: evil, End: 4e9}},
		Verdicts: []check.Verdict{{Checker: evil, Workload: evil, Outcome: check.Fail, Reason: evil,
			Anomalies: []check.Anomaly{{Name: evil, Text: evil, Ops: []history.Op{op}}}}},
	}
}

// TestHostileText: no text of a run becomes markup, and no file becomes invalid by it.
func TestHostileText(t *testing.T) {
	plain := elements(t, page(t, hostile("plain")))
	for _, evil := range []string{
		`"><script>alert(1)</script>`, `</style><b>`, `</title></svg><img src=x onerror=alert(1)>`, `' onload='alert(1)`,
		`{{.Name}}`, `]]>`, `<!--`, "\x00\x1b[31m\xff\xfe\u202e", `javascript:alert(1)`, `&lt;b&gt;`,
	} {
		r := hostile(evil)
		text := page(t, r)
		if strings.Contains(text, "<script") || strings.Contains(text, "<img") {
			t.Errorf("%q is markup in the page", evil)
		}
		if strings.ToValidUTF8(evil, "") == evil && !strings.Contains(evil, "\x00") {
			if got := elements(t, text); !reflect.DeepEqual(got, plain) {
				t.Errorf("%q changes the elements of the page: %v, not %v", evil, got, plain)
			}
		}
		var x, j bytes.Buffer
		if err := errors.Join(report.JUnit(&x, r), report.JSON(&j, r)); err != nil {
			t.Fatal(err)
		}
		var suite struct {
			Cases []struct {
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		}
		if err := xml.Unmarshal(x.Bytes(), &suite); err != nil || len(suite.Cases) != 3 || suite.Cases[0].Failure == nil {
			t.Errorf("%q: %v in %s", evil, err, x.String())
		}
		if !json.Valid(j.Bytes()) {
			t.Errorf("%q: report.json is not valid", evil)
		}
	}
}

// TestEmpty: a run of which nothing is known is void, and can be written.
func TestEmpty(t *testing.T) {
	r := &report.Run{}
	if outcome, why := r.Conclude(); outcome != report.Void || len(why) == 0 {
		t.Errorf("%s %q", outcome, why)
	}
	elements(t, page(t, r))
	if err := report.Write(filepath.Join(t.TempDir(), "a", "b"), r); err != nil {
		t.Fatal(err)
	}
}

// TestOddTimes: an operation at one moment, faults outside, clocks that start anywhere.
func TestOddTimes(t *testing.T) {
	for _, at := range []int64{0, -5, 1, 1_790_000_000_000_000_000} {
		r := &report.Run{Ops: []history.Op{{Kind: history.Read, Type: history.OK, Invoke: at, Return: at}}}
		text := page(t, r)
		elements(t, text)
		if regexp.MustCompile(`="[^"]*(NaN|Inf|e\+)`).MatchString(text) {
			t.Errorf("at %d: a coordinate is no number", at)
		}
		r.Faults = []history.Fault{{Start: at + 9e9}, {Start: at + 2, End: at + 1}}
		if text := page(t, r); strings.Contains(text, `width="-`) {
			t.Errorf("at %d: a negative width", at)
		}
	}
}

func TestConclude(t *testing.T) {
	verdict := func(o check.Outcome) []check.Verdict { return []check.Verdict{{Checker: "c", Outcome: o, Reason: "r"}} }
	bitten := []history.Fault{{Bit: true}, {}}
	for name, c := range map[string]struct {
		r    report.Run
		want report.Outcome
	}{
		"green":              {report.Run{Verdicts: verdict(check.Pass), Faults: bitten}, report.Pass},
		"no faults wanted":   {report.Run{Verdicts: verdict(check.Pass)}, report.Pass},
		"no verdict":         {report.Run{Faults: bitten}, report.Void},
		"no fault bit":       {report.Run{Verdicts: verdict(check.Pass), Faults: bitten[1:]}, report.Void},
		"undecided":          {report.Run{Verdicts: verdict(check.Undecided)}, report.Void},
		"void":               {report.Run{Verdicts: verdict(check.Void)}, report.Void},
		"doubts":             {report.Run{Verdicts: verdict(check.Pass), Doubts: []string{"d"}}, report.Void},
		"broken":             {report.Run{Verdicts: verdict(check.Fail)}, report.Fail},
		"over budget":        {report.Run{Verdicts: verdict(check.Pass), Budgets: []report.Budget{{}}}, report.Fail},
		"problems":           {report.Run{Verdicts: verdict(check.Pass), Problems: []string{"p"}}, report.Fail},
		"ended early":        {report.Run{Verdicts: verdict(check.Pass), Aborted: "a"}, report.Aborted},
		"broken, then ended": {report.Run{Verdicts: verdict(check.Fail), Aborted: "a"}, report.Fail},
		"broken and void":    {report.Run{Verdicts: append(verdict(check.Void), verdict(check.Fail)...)}, report.Fail},
	} {
		got, why := c.r.Conclude()
		if got != c.want || (got == report.Pass) != (len(why) == 0) {
			t.Errorf("%s: %s %q", name, got, why)
		}
	}
}

// TestFiles: what is written can be read again by those whom it is for.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	r := demo(2000, true)
	if err := report.Write(dir, r); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ops, err := history.ReadAll(bytes.NewReader(read("history.ndjson")))
	if err != nil || !reflect.DeepEqual(ops, r.Ops) {
		t.Errorf("history: %d operations of %d, %v", len(ops), len(r.Ops), err)
	}
	var faults []history.Fault
	for line := range bytes.Lines(read("faults.ndjson")) {
		var f history.Fault
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		faults = append(faults, f)
	}
	if !reflect.DeepEqual(faults, r.Faults) {
		t.Errorf("faults: %+v", faults)
	}
	var data struct {
		Outcome    report.Outcome
		Reasons    []string
		Operations struct{ OK, Fail, Info int }
		Latency    struct {
			P99 int64 `json:"p99_ns"`
		}
		Availability []struct {
			Group string
			Gap   int64 `json:"longest_gap_ns"`
		}
		Verdicts []check.Verdict
	}
	if err := json.Unmarshal(read("report.json"), &data); err != nil {
		t.Fatal(err)
	}
	if o := data.Operations; o.OK+o.Fail+o.Info != 2000 || data.Outcome != report.Fail || len(data.Reasons) != 2 ||
		data.Latency.P99 == 0 || len(data.Availability) == 0 || data.Availability[0].Gap < second ||
		!reflect.DeepEqual(data.Verdicts, r.Verdicts) {
		t.Errorf("report.json: %+v", data)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	if err := xml.Unmarshal(read("junit.xml"), &suite); err != nil || suite.Tests != 7 || suite.Failures != 3 {
		t.Errorf("junit.xml: %+v, %v", suite, err)
	}
	var void bytes.Buffer
	if err := report.JUnit(&void, &report.Run{}); err != nil || !strings.Contains(void.String(), `errors="1"`) {
		t.Errorf("a void run is no error: %v %s", err, void.String())
	}
}

// TestManyOperations: the page of a large run stays small, and what failed is drawn.
func TestManyOperations(t *testing.T) {
	r := demo(120_000, false)
	text := page(t, r)
	if len(text) > 2<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
	marks := 0
	for _, m := range regexp.MustCompile(`class="mark \w+" d="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		marks += strings.Count(m[1], "M")
	}
	bad := 0
	for i := range r.Ops {
		if r.Ops[i].Type != history.OK {
			bad++
		}
	}
	if marks < min(bad, 7_900) {
		t.Errorf("%d of %d operations that were not acknowledged are drawn", marks, bad)
	}
	if !strings.Contains(text, fmt.Sprintf("of %d operations are drawn", len(r.Ops))) {
		t.Error("the page does not say that it draws a choice")
	}
}
