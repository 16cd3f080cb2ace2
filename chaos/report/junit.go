package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/vipkv/vipkv/chaos/check"
)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"` // seconds
	Began    string      `xml:"timestamp,attr"`
	Facts    []junitFact `xml:"properties>property,omitempty"`
	Cases    []junitCase `xml:"testcase"`
}

type junitFact struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Failure *junitResult `xml:"failure,omitempty"`
	Error   *junitResult `xml:"error,omitempty"`
}

type junitResult struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes the outcome for programs that show tests. The last case is the run itself.
func JUnit(w io.Writer, r *Run) error {
	s := junitSuite{Name: clean(r.Name), Time: fmt.Sprintf("%.3f", r.Ended.Sub(r.Began).Seconds()),
		Began: r.Began.UTC().Format("2006-01-02T15:04:05")}
	for _, f := range r.Facts {
		s.Facts = append(s.Facts, junitFact{clean(f.Name), clean(f.Value)})
	}
	for i := range r.Verdicts {
		s.add(verdictCase(&r.Verdicts[i]))
	}
	for _, b := range r.Budgets {
		c := junitCase{Class: "budget", Name: clean(b.Name)}
		if !b.OK {
			c.Failure = &junitResult{Message: clean(fmt.Sprintf("%s, the limit is %s", b.Value, b.Limit))}
		}
		s.add(c)
	}
	outcome, reasons := r.Conclude()
	c := junitCase{Class: "run", Name: "outcome"}
	result := &junitResult{Message: string(outcome), Text: clean(strings.Join(reasons, "\n"))}
	switch outcome {
	case Pass:
	case Fail:
		c.Failure = result
	default:
		c.Error = result
	}
	s.add(c)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	}
}

func verdictCase(v *check.Verdict) junitCase {
	c := junitCase{Class: clean("check." + v.Checker), Name: clean(title(v))}
	switch v.Outcome {
	case check.Pass:
	case check.Fail:
		var text strings.Builder
		for i := range v.Anomalies {
			fmt.Fprintf(&text, "%s: %s\n\n", v.Anomalies[i].Name, v.Anomalies[i].Text)
		}
		c.Failure = &junitResult{clean(v.Reason), clean(text.String())}
	default:
		c.Error = &junitResult{Message: clean(string(v.Outcome) + ": " + v.Reason)}
	}
	return c
}

// clean drops what XML cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r != unicode.ReplacementChar && unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
