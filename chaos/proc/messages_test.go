package proc_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/kv/client"
)

const (
	sampleMessages      = 20_000
	sampleConversations = 300
	sampleTenants       = 5
)

// message is one line of a file of messages.
type message struct {
	Tenant       string `json:"tenant"`
	Conversation string `json:"conversation"`
	From         string `json:"from"`
	ClientID     string `json:"client_id"`
	TS           int64  `json:"ts"`
	Text         string `json:"text"`
}

// messages is a file and what it says: the conversations of each tenant, in the order of the file.
type messages struct {
	file    string
	count   int
	tenants map[string]map[string][]message
}

// loadMessages reads the given file, or makes one.
func loadMessages(t *testing.T) *messages {
	t.Helper()
	m := &messages{file: *set.data, tenants: map[string]map[string][]message{}}
	if m.file == "" {
		m.file = filepath.Join(t.TempDir(), "messages.jsonl")
		must(t, os.WriteFile(m.file, sample(t), 0o600))
	}
	f, err := os.Open(m.file)
	must(t, err)
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(m.file, ".gz") {
		r, err = gzip.NewReader(r)
		must(t, err)
	}
	for d := json.NewDecoder(r); ; {
		var one message
		if err := d.Decode(&one); err == io.EOF {
			return m
		} else if err != nil {
			t.Fatal(err)
		}
		if m.tenants[one.Tenant] == nil {
			m.tenants[one.Tenant] = map[string][]message{}
		}
		m.tenants[one.Tenant][one.Conversation] = append(m.tenants[one.Tenant][one.Conversation], one)
		m.count++
	}
}

func (m *messages) conversations() (n int) {
	for _, c := range m.tenants {
		n += len(c)
	}
	return n
}

// sample makes messages of 40 to 800 bytes that do not compress, in conversations of very unequal length, several of
// them named alike in different tenants. The same each time.
func sample(t *testing.T) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	skew := rand.NewZipf(r, 1.2, 4, sampleConversations-1)
	var out strings.Builder
	e := json.NewEncoder(&out)
	for i := range sampleMessages {
		c := skew.Uint64()
		text := make([]byte, 40+r.IntN(760))
		for j := range text {
			text[j] = "abcdefghijklmnopqrstuvwxyz0123456789 \n"[r.IntN(38)]
		}
		must(t, e.Encode(message{
			Tenant: fmt.Sprintf("app-%d", c%sampleTenants), Conversation: fmt.Sprintf("room/%d", c/sampleTenants),
			From: fmt.Sprintf("user-%d", r.IntN(50)), ClientID: fmt.Sprintf("m-%d", i), TS: 1_700_000_000 + int64(i),
			Text: string(text) + " é世",
		}))
	}
	return []byte(out.String())
}

// verify reads all conversations back and compares them with the file: numbers 1 to n, each message in its place.
func (m *messages) verify(t *testing.T, open func(tenant string) *client.Client) {
	t.Helper()
	wrong := 0
	for tenant, conversations := range m.tenants {
		cl := open(tenant)
		for name, want := range conversations {
			if err := verifyStream(t, cl, name, want); err != nil {
				t.Errorf("tenant %s, conversation %s: %v", tenant, name, err)
				if wrong++; wrong > 5 {
					t.Fatal("and maybe more")
				}
			}
		}
	}
}

func verifyStream(t *testing.T, cl *client.Client, name string, want []message) error {
	n := 0
	for r, err := range cl.Records(t.Context(), name, client.ReadOptions{Limit: 1000}) {
		if err != nil {
			return err
		}
		if n == len(want) {
			return fmt.Errorf("more than %d records", n)
		}
		var body struct {
			From string `json:"from"`
			TS   int64  `json:"ts"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(r.Body, &body); err != nil {
			return fmt.Errorf("record %d: %w", r.Seq, err)
		}
		w := want[n]
		n++
		if r.Seq != uint64(n) || r.ClientID != w.ClientID || body.From != w.From || body.TS != w.TS || body.Text != w.Text {
			return fmt.Errorf("record %d has number %d and client id %q, the file has %q", n, r.Seq, r.ClientID, w.ClientID)
		}
	}
	if n != len(want) {
		return fmt.Errorf("%d of %d records", n, len(want))
	}
	return nil
}
