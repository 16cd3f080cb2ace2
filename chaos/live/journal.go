package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrUnhealed is the refusal to start while faults of an earlier run are not undone.
var ErrUnhealed = errors.New("an earlier run left faults behind")

// ErrInUse is the refusal to share a journal with a run that goes on.
var ErrInUse = errors.New("a run with this journal goes on")

// Open is one fault that a journal says is there.
type Open struct {
	ID     int       `json:"id"`
	Fault  string    `json:"fault"`
	Target string    `json:"target"`
	Until  time.Time `json:"until"` // by then it should have been undone
	Undo   Undo      `json:"undo"`
}

// line is one line of the file: a fault that is about to be injected, or one that is undone.
type line struct {
	At     time.Time `json:"at"`
	Open   *Open     `json:"open,omitempty"`
	Closed int       `json:"closed,omitempty"` // the id of one that was opened before
	How    string    `json:"how,omitempty"`
}

// Journal is the record on disk of what must be undone. A fault is in it, synced, before it is injected (I1).
type Journal struct {
	f *os.File // locked

	mu   sync.Mutex
	next int
}

// OpenJournal takes a journal for a run. It fails with ErrUnhealed when there is something to be undone, with ErrInUse
// when another process has it. What is in it and undone is removed.
func OpenJournal(path string) (*Journal, error) {
	f, open, err := lockJournal(path)
	if err != nil {
		return nil, err
	}
	if len(open) > 0 {
		first := open[0]
		err := fmt.Errorf("%w: %s on %s (%d in all)", ErrUnhealed, first.Fault, first.Target, len(open))
		return nil, errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Truncate(0), syncDir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	return &Journal{f: f, next: 1}, nil
}

// lockJournal opens and locks a journal, and reads it.
func lockJournal(path string) (*os.File, []Open, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	if err := lockFile(f); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("journal %s: %w", path, ErrInUse), f.Close())
	}
	open, err := readOpen(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, open, nil
}

// ReadJournal lists what is not undone, the oldest first. A file that is not there is empty.
func ReadJournal(path string) ([]Open, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	open, err := readOpen(f)
	return open, errors.Join(err, f.Close())
}

// readOpen ignores a last line without an end: its write was not synced, so nothing followed from it. Everything else
// that it does not understand is an error.
func readOpen(r io.Reader) ([]Open, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var open []Open
	lines := bytes.Split(b, []byte("\n"))
	for n, raw := range lines[:len(lines)-1] {
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		var l line
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			if torn(raw) {
				continue
			}
			return nil, fmt.Errorf("read the journal: line %d: %w", n+1, err)
		}
		switch {
		case l.Open != nil:
			open = append(open, *l.Open)
		case l.Closed > 0:
			open = drop(open, l.Closed)
		default:
			return nil, fmt.Errorf("read the journal: line %d says nothing", n+1)
		}
	}
	return open, nil
}

// torn tells whether a line is one that a crash cut short and that a later writer ended (Journal.write).
func torn(raw []byte) bool { return bytes.HasSuffix(raw, []byte(cutShort)) }

// cutShort ends a line that a crash left without an end.
const cutShort = " <- cut short"

func drop(open []Open, id int) (left []Open) {
	for _, o := range open {
		if o.ID != id {
			left = append(left, o)
		}
	}
	return left
}

// Begin notes a fault that is about to be injected. When it returns nil the note is on disk.
func (j *Journal) Begin(o Open) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o.ID = j.next
	j.next++
	return o.ID, appendLine(j.f, line{Open: &o})
}

// End notes that a fault is undone.
func (j *Journal) End(id int, how string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return appendLine(j.f, line{Closed: id, How: how})
}

// Close gives the journal back; the file stays.
func (j *Journal) Close() error { return j.f.Close() }

// appendLine writes one line in one write, and syncs it.
func appendLine(f *os.File, l line) error {
	l.At = time.Now().UTC()
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := endLastLine(f); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// endLastLine marks a last line that a crash cut short, so that the next one begins a line.
func endLastLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.WriteString(cutShort + "\n")
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
