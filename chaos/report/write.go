package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vipkv/vipkv/chaos/history"
)

// Write writes all files of a report into a folder, which is made. The page comes last: where it is, the rest is too.
func Write(dir string, r *Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer, *Run) error
	}{
		{"history.ndjson", writeHistory},
		{"faults.ndjson", writeFaults},
		{"report.json", JSON},
		{"junit.xml", JUnit},
		{"index.html", HTML},
	} {
		if err := writeFile(filepath.Join(dir, f.name), r, f.write); err != nil {
			return fmt.Errorf("write the report: %s: %w", f.name, err)
		}
	}
	return nil
}

func writeFile(path string, r *Run, write func(io.Writer, *Run) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = write(w, r)
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func writeHistory(w io.Writer, r *Run) error {
	h := history.NewWriter(w)
	for i := range r.Ops {
		if err := h.Write(&r.Ops[i]); err != nil {
			return err
		}
	}
	return h.Flush()
}

func writeFaults(w io.Writer, r *Run) error {
	enc := json.NewEncoder(w)
	for i := range r.Faults {
		if err := enc.Encode(&r.Faults[i]); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes a run without its operations, with its outcome and what was counted and measured.
func JSON(w io.Writer, r *Run) error {
	outcome, reasons := r.Conclude()
	s := summarize(r)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Outcome      Outcome     `json:"outcome"`
		Reasons      []string    `json:"reasons,omitempty"`
		Counts       counts      `json:"operations"`
		Latency      quantiles   `json:"latency"`
		Availability []groupFact `json:"availability,omitempty"`
		*Run
	}{outcome, reasons, s.counts, s.latency, s.groups, r})
}
