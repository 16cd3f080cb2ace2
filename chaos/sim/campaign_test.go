//go:build chaos

package sim

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

var (
	campaigns = flag.Int("campaigns", 0, "how many campaigns TestCampaigns runs against each mutant; 0: none")
	part      = flag.Int("part", 0, "which part of the campaigns, or mutants, this process runs, of -parts")
	parts     = flag.Int("parts", 1, "among how many processes they are shared")
	scores    = flag.String("scores", "", "a directory: TestCampaigns writes into it, TestScore puts together")
	scorePage = flag.String("page", "", "the page between whose markers TestScore puts its table")
	scoreFile = flag.String("score", "", "the file into which TestScore writes all campaigns")
)

// campaign is one row of seeds against one mutant.
type campaign struct {
	First   uint64 `json:"first_seed"`
	Seeds   int    `json:"seeds"` // that were run
	Killed  bool   `json:"killed"`
	Checker string `json:"checker,omitempty"`
	Named   bool   `json:"nominated"` // TestScore: the checker is one of those that the registry names
}

// score is what became of one mutant.
type score struct {
	Mutant    fault.Name `json:"mutant"`
	Breaks    string     `json:"breaks"`
	Killers   []string   `json:"killers"`
	Budget    int        `json:"seeds_max"`
	Campaigns []campaign `json:"campaigns"`
}

// firstSeed keeps the seeds of campaigns apart from each other and from those that run without a mutant.
func firstSeed(n int) uint64 { return 1_000_000 * uint64(n+1) }

// TestCampaigns runs this process's part of the campaigns: one after the other against all mutants, so that what is
// written down when it is stopped is whole campaigns.
func TestCampaigns(t *testing.T) {
	all := []score{}
	mutants := chosenMutants()
	for _, m := range mutants {
		all = append(all, score{Mutant: m.Name, Breaks: m.Breaks, Killers: m.Killers, Budget: *mutantSeeds})
	}
	for n := *part; n < *campaigns; n += *parts {
		for i, m := range mutants {
			fault.Enable(m.Name)
			c := hunt(t, firstSeed(n))
			fault.Enable(fault.Name(*mutant))
			all[i].Campaigns = append(all[i].Campaigns, c)
			t.Logf("campaign %d, %s: %+v", n, m.Name, c)
		}
		saveScores(t, all)
	}
}

func saveScores(t *testing.T, all []score) {
	if *scores == "" {
		return
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*scores, fmt.Sprintf("%d.json", *part)), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func hunt(t *testing.T, first uint64) campaign {
	c := campaign{First: first}
	for c.Seeds < *mutantSeeds && !c.Killed {
		r := run(t, first+uint64(c.Seeds), nil)
		c.Seeds++
		if r.Err != nil {
			c.Killed, c.Checker = true, r.Checker
		}
	}
	return c
}

func (s *score) String() string {
	killed, seeds, by := 0, []int{}, map[string]int{}
	for _, c := range s.Campaigns {
		if c.Killed && c.Named {
			killed++
		}
		seeds = append(seeds, c.Seeds)
		by[c.Checker]++
	}
	slices.Sort(seeds)
	var names []string
	for name, n := range by {
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(names)
	if len(seeds) == 0 {
		return "no campaign"
	}
	return fmt.Sprintf("%d of %d | %d | %d | %s", killed, len(seeds), seeds[len(seeds)/2], seeds[len(seeds)-1],
		strings.Join(names, ", "))
}

// TestScore puts the parts together, writes them down, and fails when a mutant got through. What is written for mutants
// that were not looked at (-only) stays as it is.
func TestScore(t *testing.T) {
	if *scores == "" || *scorePage == "" || *scoreFile == "" {
		return
	}
	known := map[fault.Name]score{}
	if *onlyMutants != "" {
		for _, s := range readScores(t, *scoreFile) {
			known[s.Mutant] = s
		}
	}
	paths, err := filepath.Glob(filepath.Join(*scores, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no parts in %s: %v", *scores, err)
	}
	looked := map[fault.Name][]campaign{}
	for _, path := range paths {
		for _, s := range readScores(t, path) {
			looked[s.Mutant] = append(looked[s.Mutant], s.Campaigns...)
			s.Campaigns = looked[s.Mutant]
			known[s.Mutant] = s
		}
	}
	var all []score
	var table strings.Builder
	table.WriteString("| mutant | breaks | killed | median seeds | most | by |\n|---|---|---|---|---|---|\n")
	for _, m := range fault.Registry() {
		s := known[m.Name]
		s.Mutant, s.Breaks, s.Killers = m.Name, m.Breaks, m.Killers
		slices.SortFunc(s.Campaigns, func(a, b campaign) int { return int(a.First) - int(b.First) })
		for i := range s.Campaigns {
			s.Campaigns[i].Named = slices.Contains(m.Killers, family(s.Campaigns[i].Checker))
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.Mutant, s.Breaks, &s)
		escaped := func(c campaign) bool { return !c.Killed || !c.Named }
		if len(s.Campaigns) == 0 || slices.ContainsFunc(s.Campaigns, escaped) {
			t.Errorf("%s got through: %s; nominated are %v", s.Mutant, &s, s.Killers)
		}
		all = append(all, s)
	}
	t.Logf("\n%s", table.String())
	writeScores(t, all, table.String())
}

func readScores(t *testing.T, path string) (some []score) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &some); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return some
}

func writeScores(t *testing.T, all []score, table string) {
	b, err := json.MarshalIndent(all, "", " ")
	if err == nil {
		err = os.WriteFile(*scoreFile, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(*scorePage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := bytes.Cut(page, []byte("written by make mutants-full -->\n"))
	_, tail, ends := bytes.Cut(rest, []byte("<!-- mutants: end -->"))
	if !begins || !ends {
		t.Fatalf("%s has no markers", *scorePage)
	}
	text := fmt.Sprintf("%swritten by make mutants-full -->\n\n%d campaigns each, of at most %d seeds.\n\n%s\n"+
		"<!-- mutants: end -->%s", head, len(all[0].Campaigns), all[0].Budget, table, tail)
	if err := os.WriteFile(*scorePage, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
