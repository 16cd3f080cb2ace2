package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const importHelp = `Appends messages to streams, one stream a conversation, in the order of the file. FILE has one
JSON object a line, gzipped or not, with exactly these fields:

  tenant        made when it is not there
  conversation  the stream's name
  from, text    strings; with ts they become the record's body, as JSON
  client_id     unique in its conversation
  ts            seconds since 1970

It needs the admin credential. The tenants' credentials are written to the file that --credentials names,
and taken from there by later runs; without it every run makes a new credential for each tenant.

The n-th message of a conversation is record n of its stream. What is there already is compared at both
ends and not appended again, so a run that was ended, however it was, is finished by the next one.`

func newImport(a *app) *cobra.Command {
	var file, out string
	im := &importer{}
	c := &cobra.Command{
		Use: "import --file F", Short: "Append messages from a file (needs the admin credential)", Long: importHelp,
		Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("vipkv import --help describes the file", "--file is missing")
			}
			if im.batch < 1 || im.batch > 10_000 || im.parallel < 1 || im.parallel > 1024 {
				return usagef("", "--batch must be 1 to 10000, --parallel 1 to 1024")
			}
			if !c.Flags().Changed("timeout") {
				a.timeout = time.Minute // a bulk load outlives an election, or a node's restart
			}
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			if im.keys, err = loadCredentials(out); err != nil {
				return err
			}
			if im.cl, err = a.open(c.Context()); err != nil {
				return err
			}
			defer im.cl.Close()
			summary, err := a.importWithProgress(c.Context(), im, f)
			if err != nil {
				return importFailed(summary, err)
			}
			if a.json {
				return a.printJSON(summary)
			}
			return a.printf("%d messages of %d conversations of %d tenants: %d appended, %d were there already\n",
				summary.Messages, summary.Conversations, summary.Tenants, summary.Appended, summary.Duplicates)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "file", "", "the file to import")
	f.StringVar(&out, "credentials", "", "file for the tenants' credentials, as JSON, mode 0600")
	f.IntVar(&im.batch, "batch", 64, "records an append, at most; never more than 256 KiB together")
	f.IntVar(&im.parallel, "parallel", 16, "conversations at a time")
	return c
}

// importFailed keeps the error's own code and hint, and says what was done until then.
func importFailed(s importSummary, err error) error {
	code, hint := explain(err)
	if hint == "" {
		hint = "run the import again: it goes on where it stopped"
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return failf(code, hint, "import stopped after %d appended messages: %w", s.Appended, err)
}

// importWithProgress runs the import and shows a bar when standard error is a terminal.
func (a *app) importWithProgress(ctx context.Context, im *importer, f *os.File) (importSummary, error) {
	tty, ok := a.err.(*os.File)
	info, err := f.Stat()
	if !ok || !term.IsTerminal(int(tty.Fd())) || err != nil || info.Size() == 0 {
		return im.run(ctx, f)
	}
	counted := &countingReader{r: f}
	stop := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		started := time.Now()
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				line := progressLine(counted.n.Load(), info.Size(), im.done.Load(), time.Since(started))
				fmt.Fprintf(tty, "\r\x1b[K%s", line)
			case <-stop:
				fmt.Fprint(tty, "\r\x1b[K")
				return
			}
		}
	})
	summary, err := im.run(ctx, counted)
	close(stop)
	shown.Wait()
	return summary, err
}

// progressLine is the bar. It goes by the bytes of the file that were read.
func progressLine(read, total int64, messages uint64, elapsed time.Duration) string {
	const width = 30
	full := int(min(read, total) * width / total)
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = ' '
		if i < full {
			bar[i] = '='
		}
	}
	rate := float64(messages) / max(elapsed.Seconds(), 0.001)
	return fmt.Sprintf("[%s] %3d%%  %d messages  %.0f/s", bar, min(read, total)*100/total, messages, rate)
}

type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
