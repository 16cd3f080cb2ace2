package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/kv/client"
)

// benchOptions are the flags of vipkv bench.
type benchOptions struct {
	callers   []int
	duration  time.Duration
	valueSize int
	keys      int
	streams   int
}

func (o *benchOptions) validate() error {
	for _, n := range o.callers {
		if n < 1 || n > 100_000 {
			return usagef("", "--callers: %d is not in 1 to 100000", n)
		}
	}
	switch {
	case len(o.callers) == 0:
		return usagef("", "--callers is empty")
	case o.duration < 100*time.Millisecond:
		return usagef("", "--duration must be at least 100ms")
	case o.valueSize < 0 || o.valueSize > valueMax:
		return usagef("", "--value-size must be 0 to %d", valueMax)
	case o.keys < 1 || o.streams < 1:
		return usagef("", "--keys and --streams must be positive")
	}
	return nil
}

func newBench(a *app) *cobra.Command {
	return newGroup("bench", "Measure a cluster in a closed loop (needs a tenant's credential)",
		newBenchOp(a, "put", "Write random keys", benchPut),
		newBenchOp(a, "get", "Read random keys, after writing them all", benchGet),
		newBenchOp(a, "append", "Append records to random streams", benchAppend))
}

// benchSetup prepares a measurement and returns the operation to repeat.
type benchSetup func(ctx context.Context, cl *client.Client, o benchOptions) (benchOp, error)

func newBenchOp(a *app, name, short string, setup benchSetup) *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use: name, Short: short, Args: argsBetween(0, 0),
		Long: short + ". So many callers repeat it for the given time, each waiting for its answer before it asks again;\n" +
			"what the first tenth of the time measures is thrown away. Values are random bytes. Everything is written under\n" +
			"the prefix \"bench/\" and stays there.",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			op, err := setup(c.Context(), cl, o)
			if err != nil {
				return err
			}
			var runs []benchResult
			for _, callers := range o.callers {
				r, err := measure(c.Context(), op, callers, o.duration)
				if err != nil {
					return err
				}
				runs = append(runs, r)
			}
			return a.printBench(name, o, runs)
		},
	}
	f := c.Flags()
	f.IntSliceVar(&o.callers, "callers", []int{1, 64, 256}, "how many at a time; one measurement each")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "of one measurement")
	f.IntVar(&o.valueSize, "value-size", 256, "bytes of a value or a record")
	f.IntVar(&o.keys, "keys", 100_000, "how many keys are used (put, get)")
	f.IntVar(&o.streams, "streams", 1000, "how many streams are used (append)")
	return c
}

func (a *app) printBench(name string, o benchOptions, runs []benchResult) error {
	if a.json {
		return a.printJSON(object{"op": name, "value_size": o.valueSize, "runs": runs})
	}
	us := func(n int64) string { return fmt.Sprintf("%.2f ms", float64(n)/1000) }
	rows := [][]string{{"CALLERS", "RATE", "P50", "P99", "P99.9", "MAX", "ERRORS"}}
	for _, r := range runs {
		rows = append(rows, []string{
			strconv.Itoa(r.Callers), fmt.Sprintf("%.0f/s", r.Rate), us(r.P50), us(r.P99), us(r.P999), us(r.Max),
			strconv.FormatInt(r.Errors, 10),
		})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, r := range runs {
		if r.FirstError != "" {
			return a.printf("first error: %s\n", r.FirstError)
		}
	}
	return nil
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "bench/%09d", i) }

func benchPut(_ context.Context, cl *client.Client, o benchOptions) (benchOp, error) {
	return func(ctx context.Context, c *benchCaller) error {
		_, err := cl.Put(ctx, benchKey(c.rand.IntN(o.keys)), c.value(o.valueSize), client.PutOptions{})
		return err
	}, nil
}

func benchGet(ctx context.Context, cl *client.Client, o benchOptions) (benchOp, error) {
	if err := benchLoad(ctx, cl, o); err != nil {
		return nil, fmt.Errorf("write the keys to read: %w", err)
	}
	return func(ctx context.Context, c *benchCaller) error {
		_, err := cl.Get(ctx, benchKey(c.rand.IntN(o.keys)))
		if errors.Is(err, client.ErrNotFound) {
			return errors.New("a key that was written is not found")
		}
		return err
	}, nil
}

func benchAppend(_ context.Context, cl *client.Client, o benchOptions) (benchOp, error) {
	return func(ctx context.Context, c *benchCaller) error {
		stream := fmt.Sprintf("bench/%06d", c.rand.IntN(o.streams))
		_, err := cl.Append(ctx, stream, []client.Record{{Body: c.value(o.valueSize)}}, client.AppendOptions{})
		return err
	}, nil
}
