package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	guardLook  = 500 * time.Millisecond
	guardGrace = 15 * time.Second // after a fault's time before somebody else undoes it
)

// Heal undoes everything that a journal says is there, the newest first, and notes it. What fails is left in the
// journal; the rest is undone nevertheless. Doing it again is harmless. It fails with ErrInUse while the run goes on.
func Heal(ctx context.Context, path string, log io.Writer) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f, open, err := lockJournal(path)
	if err != nil {
		return err
	}
	if len(open) == 0 {
		fmt.Fprintln(log, "nothing to undo")
	}
	var errs []error
	for i := len(open) - 1; i >= 0; i-- {
		errs = append(errs, undoOne(ctx, f, &open[i], log))
	}
	return errors.Join(append(errs, f.Close())...)
}

func undoOne(ctx context.Context, f *os.File, o *Open, log io.Writer) error {
	if err := o.Undo.Do(ctx); err != nil {
		fmt.Fprintf(log, "%s on %s is NOT undone: %v\n", o.Fault, o.Target, err)
		return fmt.Errorf("undo %s on %s: %w", o.Fault, o.Target, err)
	}
	fmt.Fprintf(log, "%s on %s is undone: %s\n", o.Fault, o.Target, o.Undo.Text)
	return appendLine(f, line{Closed: o.ID, How: "healed"})
}

// Guard watches over a run from another process. It undoes a fault whose time has long passed, when the run hangs; and
// everything, when the run has died: parent is a pipe that the run holds open. It returns when the run has ended, or
// ctx has.
func Guard(ctx context.Context, path string, parent io.Reader, log io.Writer) error {
	gone := make(chan struct{})
	go func() { // ends with the run, whose end of the pipe the kernel closes
		_, _ = io.Copy(io.Discard, parent)
		close(gone)
	}()
	t := time.NewTicker(guardLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return healLeft(ctx, path, log)
		case <-t.C:
			if err := healOverdue(ctx, path, log); err != nil {
				fmt.Fprintf(log, "guard: %v\n", err)
			}
		}
	}
}

// healLeft heals when there is something to heal; somebody else may be doing that already.
func healLeft(ctx context.Context, path string, log io.Writer) error {
	for {
		open, err := ReadJournal(path)
		if err != nil || len(open) == 0 {
			return err
		}
		if err := Heal(ctx, path, log); !errors.Is(err, ErrInUse) {
			return err
		}
		if err := pause(ctx, guardLook); err != nil {
			return err
		}
	}
}

// healOverdue does not note what it undoes: the run, if it lives, has the journal, and does it again.
func healOverdue(ctx context.Context, path string, log io.Writer) error {
	open, err := ReadJournal(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range open {
		if time.Since(o.Until) < guardGrace {
			continue
		}
		fmt.Fprintf(log, "guard: the time of %s on %s is over: %s\n", o.Fault, o.Target, o.Undo.Text)
		errs = append(errs, o.Undo.Do(ctx))
	}
	return errors.Join(errs...)
}
