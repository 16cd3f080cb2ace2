package proc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// The bounds within which package check decides a register quickly.
const (
	registerOps    = 300 // on one register, then the group goes on with a new one
	registerInfos  = 3   // of unknown outcome, then too
	appendAttempts = 3   // of one record, by the same client id
)

// LoadConfig of a Load.
type LoadConfig struct {
	// Client is of the tenant that is written to. Required.
	Client *client.Client
	// Registers is how many groups of clients there are; a group shares one register at a time. Default 4.
	Registers int
	// ClientsPerRegister is the size of a group. Default 3, at most 5.
	ClientsPerRegister int
	// Streams is how many streams there are. Default 3.
	Streams int
	// ClientsPerStream is how many clients append to each. Default 2.
	ClientsPerStream int
	// Pace is the mean pause between two operations of a client. Default 40 ms.
	Pace time.Duration
	// Prefix begins the names of all keys and streams, so that two loads do not meet.
	Prefix string
}

// Load is a set of clients that record all that they ask and are told.
type Load struct {
	cfg    LoadConfig
	began  time.Time
	groups []*registerGroup
	stop   context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	ops     []history.Op
	clients int // numbers given out
}

// registerGroup is the register that a group of clients works on now.
type registerGroup struct {
	mu    sync.Mutex
	name  string
	gen   int
	ops   int
	infos int
}

// StartLoad starts the clients; Stop ends them.
func StartLoad(cfg LoadConfig) *Load {
	setDefault(&cfg.Registers, 4)
	setDefault(&cfg.ClientsPerRegister, 3)
	setDefault(&cfg.Streams, 3)
	setDefault(&cfg.ClientsPerStream, 2)
	if cfg.Pace == 0 {
		cfg.Pace = 40 * time.Millisecond
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Load{cfg: cfg, began: time.Now(), stop: stop}
	for i := range cfg.Registers {
		g := &registerGroup{name: fmt.Sprintf("%sregister-%d", cfg.Prefix, i)}
		l.groups = append(l.groups, g)
		for range cfg.ClientsPerRegister {
			l.wait.Go(func() { l.runRegister(ctx, g) })
		}
	}
	for i := range cfg.Streams {
		for range cfg.ClientsPerStream {
			l.wait.Go(func() { l.runStream(ctx, l.stream(i)) })
		}
		l.wait.Go(func() { l.runReader(ctx, l.stream(i)) })
	}
	return l
}

func setDefault(to *int, value int) {
	if *to == 0 {
		*to = value
	}
}

func (l *Load) stream(i int) string { return fmt.Sprintf("%sstream-%d", l.cfg.Prefix, i) }

// Stop lets all operations under way come to their own end and ends the clients.
func (l *Load) Stop() {
	l.stop()
	l.wait.Wait()
}

// Ops returns what was recorded so far.
func (l *Load) Ops() []history.Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]history.Op(nil), l.ops...)
}

// Final reads all registers and streams once, after Stop. It tries until ctx ends.
func (l *Load) Final(ctx context.Context) error {
	number := l.newClient()
	for _, g := range l.groups {
		for gen := 0; gen <= g.gen; gen++ {
			if err := l.finally(ctx, func() bool { return l.read(ctx, number, g.key(gen)) }); err != nil {
				return err
			}
		}
	}
	for i := range l.cfg.Streams {
		if err := l.finally(ctx, func() bool { return l.readStream(ctx, number, l.stream(i)) }); err != nil {
			return err
		}
	}
	return nil
}

func (l *Load) finally(ctx context.Context, done func() bool) error {
	for !done() {
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("final reads: %w", err)
		}
	}
	return nil
}

// now is the history's clock.
func (l *Load) now() int64 { return time.Since(l.began).Nanoseconds() }

func (l *Load) newClient() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return l.clients
}

func (l *Load) record(op history.Op) {
	op.Return = l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, op)
}

// outcome of an error: what is ambiguous may still take effect, every other error says that nothing was done.
func outcome(err error) (history.Type, string) {
	var ambiguous *rpcerr.AmbiguousError
	switch {
	case err == nil:
		return history.OK, ""
	case errors.As(err, &ambiguous):
		return history.Info, err.Error()
	}
	return history.Fail, err.Error()
}

// rest pauses between operations; false: it is over.
func (l *Load) rest(ctx context.Context) bool {
	return pause(ctx, l.cfg.Pace/2+rand.N(l.cfg.Pace)) == nil
}

func (g *registerGroup) key(gen int) string { return fmt.Sprintf("%s-%d", g.name, gen) }

// take counts one operation in and says on which register it is made.
func (g *registerGroup) take() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ops >= registerOps || g.infos >= registerInfos {
		g.gen, g.ops, g.infos = g.gen+1, 0, 0
	}
	g.ops++
	return g.key(g.gen)
}

// unknown notes an operation whose outcome is not known.
func (g *registerGroup) unknown() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.infos++
}

// runRegister is one client of a register. After an unknown outcome it goes on as another client.
func (l *Load) runRegister(ctx context.Context, g *registerGroup) {
	number := l.newClient()
	for n := 0; l.rest(ctx); n++ {
		key := g.take()
		var t history.Type
		switch rand.IntN(4) {
		case 0, 1:
			l.read(context.Background(), number, key)
			continue
		case 2:
			t = l.write(number, key, fmt.Sprintf("%d.%d", number, n))
		default:
			t = l.swap(number, key, fmt.Sprintf("%d.%d", number, n))
		}
		if t == history.Info {
			g.unknown()
			number, n = l.newClient(), 0
		}
	}
}

// read records a read of a register and tells whether it was answered.
func (l *Load) read(ctx context.Context, number int, key string) bool {
	op := history.Op{Client: number, Kind: history.Read, Key: key, Invoke: l.now()}
	item, err := l.cfg.Client.Get(ctx, []byte(key))
	if errors.Is(err, client.ErrNotFound) {
		err = nil
	}
	op.Type, op.Err = outcome(err)
	op.Result = string(item.Value)
	l.record(op)
	return err == nil
}

func (l *Load) write(number int, key, value string) history.Type {
	op := history.Op{Client: number, Kind: history.Write, Key: key, Arg: value, Invoke: l.now()}
	_, err := l.cfg.Client.Put(context.Background(), []byte(key), []byte(value), client.PutOptions{})
	op.Type, op.Err = outcome(err)
	l.record(op)
	return op.Type
}

// swap reads a register and replaces what it read, on condition that it is still there. Values are unique, so the
// version stands for the value.
func (l *Load) swap(number int, key, value string) history.Type {
	ctx := context.Background()
	o := client.PutOptions{}
	item, err := l.cfg.Client.Get(ctx, []byte(key))
	switch {
	case errors.Is(err, client.ErrNotFound):
		o.IfAbsent = true
	case err != nil:
		return history.Fail
	default:
		o.IfVersion = item.Version
	}
	op := history.Op{
		Client: number, Kind: history.CAS, Key: key, Expect: string(item.Value), Arg: value, Invoke: l.now(),
	}
	_, err = l.cfg.Client.Put(ctx, []byte(key), []byte(value), o)
	var refused *rpcerr.ConditionFailedError
	if errors.As(err, &refused) {
		op.Type, op.Result = history.OK, "false"
	} else if op.Type, op.Err = outcome(err); op.Type == history.OK {
		op.Result = "true"
	}
	l.record(op)
	return op.Type
}

// runStream is one client that appends. As a sender of messages does, it sends a record again under the same client id
// while it does not know what became of it.
func (l *Load) runStream(ctx context.Context, stream string) {
	number := l.newClient()
	for n := 0; l.rest(ctx); n++ {
		id := fmt.Sprintf("%d.%d", number, n)
		op := history.Op{Client: number, Kind: history.Append, Key: stream, Arg: id, Invoke: l.now()}
		records := []client.Record{{ClientID: id, Body: []byte("message " + id)}}
		unknown := false
		for range appendAttempts {
			done, err := l.cfg.Client.Append(context.Background(), stream, records, client.AppendOptions{})
			op.Type, op.Err = outcome(err)
			if op.Type == history.OK {
				op.Result = strconv.FormatUint(done.FirstSeq, 10)
			}
			unknown = unknown || op.Type == history.Info
			if op.Type != history.Info {
				break
			}
		}
		if unknown && op.Type == history.Fail {
			op.Type = history.Info // an earlier attempt may have taken effect
		}
		l.record(op)
		if op.Type == history.Info {
			number, n = l.newClient(), 0
		}
	}
}

// runReader reads a whole stream now and then.
func (l *Load) runReader(ctx context.Context, stream string) {
	number := l.newClient()
	for pause(ctx, 50*l.cfg.Pace) == nil {
		l.readStream(context.Background(), number, stream)
	}
}

func (l *Load) readStream(ctx context.Context, number int, stream string) bool {
	op := history.Op{Client: number, Kind: history.Stream, Key: stream, Invoke: l.now()}
	var err error
	for record, e := range l.cfg.Client.Records(ctx, stream, client.ReadOptions{Limit: 1000}) {
		if e != nil {
			err = e
			break
		}
		if want := uint64(len(op.List)) + 1; record.Seq != want {
			op.List = append(op.List, fmt.Sprintf("hole: number %d where %d belongs", record.Seq, want))
			continue
		}
		op.List = append(op.List, record.ClientID)
	}
	if op.Type, op.Err = outcome(err); op.Type != history.OK {
		op.List = nil
	}
	l.record(op)
	return err == nil
}

// Counts of a history.
type Counts struct {
	OK, Unknown, Failed int
	Acked               int // writes and appends that were acknowledged
	Longest             time.Duration
}

// Count counts the operations that returned between two moments of the history's clock; to == 0: to the end.
func Count(ops []history.Op, from, to int64) (c Counts) {
	for i := range ops {
		o := &ops[i]
		if o.Return < from || to != 0 && o.Return > to {
			continue
		}
		c.Longest = max(c.Longest, time.Duration(o.Return-o.Invoke))
		switch o.Type {
		case history.OK:
			c.OK++
			if o.Kind == history.Write || o.Kind == history.Append || o.Kind == history.CAS && o.Result == "true" {
				c.Acked++
			}
		case history.Info:
			c.Unknown++
		case history.Fail:
			c.Failed++
		}
	}
	return c
}

func (c Counts) String() string {
	return fmt.Sprintf("%d ok (%d acknowledged writes), %d unknown, %d failed, longest %v",
		c.OK, c.Acked, c.Unknown, c.Failed, c.Longest.Round(time.Millisecond))
}

// Now is the history's clock now, in nanoseconds.
func (l *Load) Now() int64 { return l.now() }
