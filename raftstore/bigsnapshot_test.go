package raftstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
	"github.com/vipkv/vipkv/raftstore/transport"
)

const (
	bigRange   = 300 << 20 // bytes
	bigValue   = 64 << 10
	heapGrowth = 64 << 20
	// childVar makes the test binary play one store of TestLargeRangeSnapshot: role, directory.
	childVar = "VIPKV_TEST_SNAPSHOT_STORE"
)

func TestMain(m *testing.M) {
	enableMutant()
	if role, dir, ok := strings.Cut(os.Getenv(childVar), ":"); ok {
		if err := playStore(role, dir); err != nil {
			fmt.Fprintln(os.Stderr, role, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child is a process that plays one store.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, role string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(t.Context(), exe)}
	c.cmd.Env = append(os.Environ(), childVar+"="+role+":"+t.TempDir())
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	t.Cleanup(func() {
		_ = c.in.Close() // ends the child
		_ = c.cmd.Wait() // its answers have been read
	})
	return c
}

// read scans the child's next line.
func (c *child) read(t *testing.T, format string, args ...any) {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the store ended: %v", c.out.Err())
	}
	if _, err := fmt.Sscanf(c.out.Text(), format, args...); err != nil {
		t.Fatalf("the store said %q: %v", c.out.Text(), err)
	}
}

// A range snapshot of 300 MiB moves between two processes, on real files over a real network, while neither's heap
// grows by more than 64 MiB.
func TestLargeRangeSnapshot(t *testing.T) {
	began := time.Now()
	receiver, sender := startChild(t, "receiver"), startChild(t, "sender")
	var to, from string
	receiver.read(t, "listen %s", &to)
	sender.read(t, "listen %s", &from)
	fmt.Fprintln(receiver.in, from)
	fmt.Fprintln(sender.in, to)
	var sent, got, sentHeap, gotHeap, sentSum, gotSum uint64
	sender.read(t, "bytes %d sum %x heap %d", &sent, &sentSum, &sentHeap)
	receiver.read(t, "bytes %d sum %x heap %d", &got, &gotSum, &gotHeap)
	t.Logf("%d MiB in %v: the sender's heap grew by %d KiB, the receiver's by %d KiB",
		got>>20, time.Since(began).Round(time.Millisecond), sentHeap>>10, gotHeap>>10)
	if sent < bigRange || got != sent || gotSum != sentSum {
		t.Errorf("%d bytes were there, %d came", sent, got)
	}
	if sentHeap > heapGrowth || gotHeap > heapGrowth {
		t.Errorf("heaps grew by %d and %d bytes", sentHeap, gotHeap)
	}
}

// playStore is a child's main.
func playStore(role, dir string) error {
	id := map[string]proto.StoreID{"sender": 1, "receiver": 2}[role]
	e, err := engine.OpenPebble(dir+"/data", engine.Options{CacheBytes: 4 << 20, MemTableBytes: 4 << 20})
	if err != nil {
		return err
	}
	if id == 1 {
		if err := fillRange(e); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listen", l.Addr())
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	conn, err := grpc.NewClient(in.Text(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	cfg := transport.DefaultConfig()
	cfg.Dial = func(proto.StoreID) (grpc.ClientConnInterface, error) { return conn, nil }
	tr := transport.New(cfg)
	store := raftstore.DefaultConfig()
	store.Store, store.Engine, store.FS, store.SnapshotDir = id, e, engine.DefaultFS(), dir+"/incoming"
	store.Transport, store.SplitBytes, store.SnapshotBytesPerSecond = tr, 0, 1<<30
	store.TickInterval = 20 * time.Millisecond
	store.AllocateRange = func(context.Context) (proto.RangeID, error) { return 0, errors.New("no splits") }
	store.OnFatal = func(err error) { fmt.Fprintln(os.Stderr, err) }
	s, err := raftstore.Open(store)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := grpc.NewServer()
	internalpb.RegisterRaftServer(server, &raftService{store: s})
	var wg sync.WaitGroup
	for _, run := range []func(){
		func() { _ = tr.Run(ctx) }, func() { _ = s.Run(ctx) }, func() { _ = server.Serve(l) },
	} {
		wg.Add(1)
		go func() { defer wg.Done(); run() }()
	}
	err = moveRange(s, id, e)
	in.Scan() // until the parent has both answers
	cancel()
	server.Stop()
	wg.Wait()
	return errors.Join(err, conn.Close(), e.Close())
}

// fillRange makes a range of random values, which do not compress.
func fillRange(e engine.Engine) error {
	d := raftstoretest.Descriptors()[1]
	rng := rand.NewChaCha8([32]byte{1})
	value := make([]byte, bigValue)
	size := uint64(0)
	for i := 0; size < bigRange; {
		var b storage.Batch
		for range 16 {
			k := keys.Version(raftstoretest.Key(fmt.Sprintf("%08d", i)), 1)
			_, _ = rng.Read(value) // never fails
			b.Set(k, value)
			size += uint64(len(k) + len(value))
			i++
		}
		if err := e.Commit(&b, false); err != nil {
			return err
		}
	}
	var b storage.Batch
	if err := replica.Bootstrap(&b, d, size); err != nil {
		return err
	}
	return e.Commit(&b, true)
}

// moveRange has the sender add the receiver as a learner, and both report what they hold and how their heaps grew.
func moveRange(s *raftstore.Store, id proto.StoreID, e engine.Engine) error {
	runtime.GC()
	peak := watchHeap()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	arrived := func() bool { st, ok := s.Status(userRange); return ok && st.Descriptor != nil && st.Applied > 0 }
	if id == 1 {
		s.Campaign(userRange)
		var d *internalpb.Descriptor
		if err := until(ctx, func() (err error) { d, _, err = s.Begin(userRange); return err }); err != nil {
			return err
		}
		after, err := s.ChangeReplicas(ctx, userRange, d.Epoch, &internalpb.ChangeReplicasStep{AddLearnerStore: 2})
		if err != nil {
			return err
		}
		arrived = func() bool {
			led, _, _, err := s.Led(ctx, 1<<30)
			if err != nil || len(led) == 0 {
				return false
			}
			for _, p := range led[0].Progress {
				if p.ReplicaId == after.Replicas[1].ReplicaId {
					return !p.InSnapshot && p.Match >= led[0].Applied
				}
			}
			return false
		}
	}
	if err := until(ctx, func() error {
		if !arrived() {
			return errors.New("not there")
		}
		return nil
	}); err != nil {
		return err
	}
	grew := peak()
	size, sum, err := sumData(e)
	if err == nil {
		fmt.Printf("bytes %d sum %x heap %d\n", size, sum, grew)
	}
	return err
}

func until(ctx context.Context, f func() error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// watchHeap samples how far the heap in use is above where it is now; the function that it returns ends that.
func watchHeap() (stop func() uint64) {
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	quit, done := make(chan struct{}), make(chan struct{})
	go func() { // ended by stop
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			if now.HeapInuse > before.HeapInuse {
				peak.Store(max(peak.Load(), now.HeapInuse-before.HeapInuse))
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { close(quit); <-done; return peak.Load() }
}

func sumData(e engine.Engine) (size, sum uint64, err error) {
	lower, upper := keys.DataSpan(nil, nil)
	it, err := e.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	h := xxhash.New()
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		size += uint64(len(k) + len(v))
		_, _ = h.Write(k) // a digest never fails
		_, _ = h.Write(v)
	}
	return size, h.Sum64(), nil
}

type raftService struct {
	internalpb.UnimplementedRaftServer
	store *raftstore.Store
}

func (r *raftService) Snapshot(stream internalpb.Raft_SnapshotServer) error {
	return r.store.ReceiveSnapshot(stream)
}

func (r *raftService) Messages(stream internalpb.Raft_MessagesServer) error {
	for {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		r.store.Step(b.Messages)
	}
}
