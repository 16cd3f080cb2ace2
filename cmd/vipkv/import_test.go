package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/client/clienttest"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// sample makes n messages of 2 tenants and 7 conversations, interleaved.
func sample(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"tenant":"t%d","conversation":"c%d","from":"u%d",`, i%2, i%7, i%5)
		fmt.Fprintf(&b, `"client_id":"m%d","ts":%d,"text":"text <%d>"}`+"\n", i, 1700000000+i, i)
	}
	return b.String()
}

type importCase struct {
	t       *testing.T
	cluster *clienttest.Cluster
	keys    string // file
}

func newImportCase(t *testing.T) *importCase {
	return &importCase{t, clienttest.Start(t, 3), filepath.Join(t.TempDir(), "keys.json")}
}

func (c *importCase) run(ctx context.Context, file string) (importSummary, error) {
	c.t.Helper()
	cl, err := client.Open(c.t.Context(), client.Options{
		Endpoints: c.cluster.Endpoints(), Credential: clienttest.AdminCredential, Timeout: 2 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	keys, err := loadCredentials(c.keys)
	if err != nil {
		c.t.Fatal(err)
	}
	im := &importer{cl: cl, keys: keys, batch: 8, parallel: 3}
	return im.run(ctx, strings.NewReader(file))
}

// verify compares every stream with the file.
func (c *importCase) verify(file string) {
	c.t.Helper()
	keys, err := loadCredentials(c.keys)
	if err != nil {
		c.t.Fatal(err)
	}
	want := make(map[string][]importMessage)
	err = readMessages(strings.NewReader(file), func(m importMessage) error {
		id := m.tenant + "/" + m.conversation
		want[id] = append(want[id], m)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for id, messages := range want {
		cl, err := client.Open(c.t.Context(), client.Options{
			Endpoints: c.cluster.Endpoints(), Credential: keys.keys[messages[0].tenant]})
		if err != nil {
			c.t.Fatal(err)
		}
		got, err := cl.Latest(c.t.Context(), messages[0].conversation, 1_000_000)
		if err != nil || len(got) != len(messages) {
			c.t.Fatalf("%s: %d records, want %d; %v", id, len(got), len(messages), err)
		}
		for i, r := range got {
			if r.ClientID != messages[i].clientID || !bytes.Equal(r.Body, messages[i].body) {
				c.t.Fatalf("%s: record %d is %s %s", id, i+1, r.ClientID, r.Body)
			}
		}
		cl.Close()
	}
}

func TestImportTwiceAddsNothing(t *testing.T) {
	c := newImportCase(t)
	file := sample(1000)
	got, err := c.run(t.Context(), file)
	if err != nil || got != (importSummary{2, 14, 1000, 1000, 0}) {
		t.Fatalf("%+v %v", got, err)
	}
	c.verify(file)
	got, err = c.run(t.Context(), file)
	if err != nil || got != (importSummary{2, 14, 1000, 0, 1000}) {
		t.Fatalf("%+v %v", got, err)
	}
	if n := len(c.cluster.Calls("CreateCredential")); n != 0 {
		t.Errorf("the credentials of the first run were not used: %d new ones", n)
	}
	if info, err := os.Stat(c.keys); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v %v", info.Mode(), err)
	}
	// A longer file goes on where the shorter one ended; a shorter one adds nothing.
	got, err = c.run(t.Context(), sample(1500))
	if err != nil || got != (importSummary{2, 14, 1500, 500, 1000}) {
		t.Fatalf("%+v %v", got, err)
	}
	c.verify(sample(1500))
	got, err = c.run(t.Context(), sample(700))
	if err != nil || got != (importSummary{2, 14, 700, 0, 700}) {
		t.Fatalf("%+v %v", got, err)
	}
	// Without the file of credentials, tenants get new ones.
	if err := os.Remove(c.keys); err != nil {
		t.Fatal(err)
	}
	got, err = c.run(t.Context(), sample(1500))
	if err != nil || got.Duplicates != 1500 || len(c.cluster.Calls("CreateCredential")) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestImportKilledHalfWayIsFinishedByTheNext(t *testing.T) {
	for _, after := range []int32{1, 5, 40} {
		c := newImportCase(t)
		file := sample(1000)
		ctx, cancel := context.WithCancel(t.Context())
		var appends atomic.Int32
		// The append that is under way is carried out and its answer is lost.
		c.cluster.After(func(ctx context.Context, call clienttest.Call) error {
			if call.Method == "Append" && appends.Add(1) == after {
				cancel()
				<-ctx.Done()
			}
			return nil
		})
		got, err := c.run(ctx, file)
		if err == nil || got.Appended >= 1000 {
			t.Fatalf("was not killed: %+v", got)
		}
		c.cluster.After(nil)
		got, err = c.run(t.Context(), file)
		if err != nil || got.Duplicates == 0 || got.Appended == 0 || got.Appended+got.Duplicates != 1000 {
			t.Fatalf("%+v %v", got, err)
		}
		c.verify(file)
	}
}

// Answers are lost, outcomes stay unknown until the SDK gives up, request ids expire: still each message once.
func TestImportThroughFaults(t *testing.T) {
	c := newImportCase(t)
	var n atomic.Int32
	expired := &rpcerr.RequestExpiredError{RequestExpired: &vipkvpb.RequestExpired{}}
	lose := func(_ context.Context, call clienttest.Call) error {
		if call.Method != "Append" {
			return nil
		}
		switch n.Add(1) % 7 {
		case 1:
			return status.Error(codes.Unavailable, "cut")
		case 2:
			return expired
		case 4:
			return rpcerr.Ambiguous("leader lost")
		}
		return nil
	}
	c.cluster.After(lose)
	file := sample(1000)
	summary, err := c.run(t.Context(), file)
	for runs := 0; err != nil && runs < 200; runs++ { // an id that expired at once ends a run
		summary, err = c.run(t.Context(), file)
	}
	if err != nil || summary.Appended+summary.Duplicates != 1000 {
		t.Fatalf("%+v %v", summary, err)
	}
	c.cluster.After(nil)
	c.verify(file)
}

func TestImportDetectsAnotherFile(t *testing.T) {
	c := newImportCase(t)
	if _, err := c.run(t.Context(), sample(200)); err != nil {
		t.Fatal(err)
	}
	lines, more := strings.SplitAfter(sample(200), "\n"), strings.SplitAfter(sample(214), "\n")
	for name, file := range map[string]string{
		"first differs":          strings.Replace(sample(200), `"m0"`, `"other"`, 1),
		"last differs":           strings.Replace(sample(200), `"m199"`, `"other"`, 1),
		"one is left out":        strings.Join(append(append([]string{}, lines[:50]...), lines[51:]...), ""),
		"one is left out, more":  strings.Join(append(append([]string{}, lines[:50]...), lines[51:]...), "") + more[204],
		"shorter, last differs":  strings.Replace(sample(100), `"m99"`, `"other"`, 1),
		"one is put in front":    strings.Replace(lines[0], `"m0"`, `"new"`, 1) + sample(200),
		"the order is different": lines[14] + strings.Join(lines[1:14], "") + lines[0] + strings.Join(lines[15:], ""),
	} {
		got, err := c.run(t.Context(), file)
		code, hint := explain(err)
		if err == nil || code != exitConflict || hint == "" || !strings.Contains(err.Error(), "position") {
			t.Errorf("%s: exit %d, %+v, %v", name, code, got, err)
		}
	}
	c.verify(sample(200))
}

func TestImportParser(t *testing.T) {
	good := `{"tenant":"a","conversation":"b","from":"c","client_id":"d","ts":1,"text":"e"}`
	m, err := parseMessage([]byte(good))
	if err != nil || string(m.body) != `{"from":"c","ts":1,"text":"e"}` || m.clientID != "d" {
		t.Fatalf("%+v %v", m, err)
	}
	for name, bad := range map[string]string{
		"not JSON":       "{",
		"an array":       "[]",
		"unknown field":  strings.Replace(good, `"ts"`, `"x":1,"ts"`, 1),
		"two documents":  good + good,
		"missing field":  strings.Replace(good, `"text":"e"`, `"text":null`, 1),
		"empty id":       strings.Replace(good, `"d"`, `""`, 1),
		"ts is a string": strings.Replace(good, `"ts":1`, `"ts":"1"`, 1),
		"ts is fraction": strings.Replace(good, `"ts":1`, `"ts":1.5`, 1),
		"bad UTF-8":      strings.Replace(good, `"e"`, "\"\xff\"", 1),
		"long id":        strings.Replace(good, `"d"`, `"`+strings.Repeat("d", 257)+`"`, 1),
		"long body":      strings.Replace(good, `"e"`, `"`+strings.Repeat("e", 1<<20)+`"`, 1),
		"line too long":  strings.Replace(good, `"e"`, `"`+strings.Repeat("e", 3<<20)+`"`, 1),
	} {
		n := 0
		err := readMessages(strings.NewReader(good+"\n\n"+bad+"\n"), func(importMessage) error { n++; return nil })
		if err == nil || n != 1 || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: %d messages, %v", name, n, err)
		}
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(sample(100)))
	w.Close()
	n := 0
	count := func(importMessage) error { n++; return nil }
	if err := readMessages(bytes.NewReader(z.Bytes()), count); err != nil || n != 100 {
		t.Errorf("gzip: %d, %v", n, err)
	}
	if err := readMessages(bytes.NewReader(z.Bytes()[:z.Len()-9]), count); err == nil {
		t.Error("a file that was cut off passed")
	}
}

func TestImportCommand(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	file := writeFile(t, "m.jsonl", sample(50))
	code, out, errs := vipkv(t, "", "-e", cluster.Endpoints()[0], "--credential", clienttest.AdminCredential,
		"import", "--file", file, "--credentials", filepath.Join(t.TempDir(), "k.json"), "--json")
	var s importSummary
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s != (importSummary{2, 14, 50, 50, 0}) {
		t.Errorf("exit %d: %s %s %v", code, out, errs, err)
	}
}
