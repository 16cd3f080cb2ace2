package sim

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	gproto "google.golang.org/protobuf/proto"
)

// services are what a process serves: the handlers that gRPC would call.
type services map[string]service

type service struct {
	server      any
	handler     grpc.MethodHandler
	interceptor grpc.UnaryServerInterceptor
}

// registrar adds services whose calls pass an interceptor, or none.
type registrar struct {
	services    services
	interceptor grpc.UnaryServerInterceptor
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, server any) {
	for _, m := range desc.Methods {
		r.services["/"+desc.ServiceName+"/"+m.MethodName] = service{server, m.Handler, r.interceptor}
	}
}

// call handles one call in a fiber of the serving process and returns the answer as bytes: a response, or a status.
func (s services) call(ctx context.Context, method string, data []byte) (answer, failure []byte) {
	resp, err := func() (any, error) {
		m, ok := s[method]
		if !ok {
			return nil, grpcstatus.Error(codes.Unavailable, "the process does not serve yet")
		}
		return m.handler(m.server, ctx, func(req any) error {
			return gproto.Unmarshal(data, req.(gproto.Message))
		}, m.interceptor)
	}()
	if err == nil {
		answer, err = marshal(resp.(gproto.Message))
	}
	if err != nil {
		answer = nil
		failure, err = marshal(grpcstatus.Convert(err).Proto())
	}
	if err != nil {
		panic(fmt.Sprintf("encode the answer of %s: %v", method, err))
	}
	return answer, failure
}

func marshal(m gproto.Message) ([]byte, error) {
	return gproto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// conn is a connection of a process to a store's process. It implements grpc.ClientConnInterface.
type conn struct {
	c    *cluster
	p    *process
	from int // node
	to   *store
}

// errStreams: what streams between processes, raft's messages and range snapshots, has its own way here.
var errStreams = errors.New("there are no streams in a simulation")

// NewStream implements grpc.ClientConnInterface.
func (n *conn) NewStream(
	context.Context, *grpc.StreamDesc, string, ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return nil, errStreams
}

// reply is the answer to one call, when there is one.
type reply struct {
	done            chan struct{}
	answer, failure []byte
	over            bool
}

func (r *reply) arrive(answer, failure []byte) {
	if !r.over {
		r.over, r.answer, r.failure = true, answer, failure
		close(r.done)
	}
}

// Invoke implements grpc.ClientConnInterface.
func (n *conn) Invoke(
	ctx context.Context, method string, args, resp any, opts ...grpc.CallOption,
) error {
	if err := ctx.Err(); err != nil {
		return grpcstatus.FromContextError(err).Err()
	}
	data, err := marshal(args.(gproto.Message))
	if err != nil {
		return err
	}
	for _, o := range opts {
		if p, ok := o.(grpc.PeerCallOption); ok { // it has left
			p.PeerAddr.Addr = &net.TCPAddr{Port: addressBase + n.to.port}
		}
	}
	r := &reply{done: make(chan struct{})}
	n.send(ctx, method, data, r)
	if err := n.p.Await(ctx, r.done); err != nil {
		return grpcstatus.FromContextError(err).Err()
	}
	if r.failure != nil {
		s := grpcstatus.New(codes.OK, "").Proto()
		if err := gproto.Unmarshal(r.failure, s); err != nil {
			return err
		}
		return grpcstatus.ErrorProto(s)
	}
	return gproto.Unmarshal(r.answer, resp.(gproto.Message))
}

// send brings the call to the other process and the answer back, if the network lets them. A call that comes twice is
// handled once: a connection is a stream.
func (n *conn) send(ctx context.Context, method string, data []byte, r *reply) {
	md, _ := metadata.FromOutgoingContext(ctx)
	at, limited := deadline(ctx)
	came := false
	n.carry(n.from, int(n.to.id), method, data, func(data []byte) {
		if came {
			return
		}
		came = true
		if !n.to.up {
			if n.p.r.IntN(4) > 0 { // connection refused
				n.back(r, nil, refusal())
			}
			return
		}
		n.to.happen(n.to.boots, func() {
			f := n.to.front
			f.proc.Go(func() {
				f.serving++
				defer func() { f.serving-- }()
				ctx := metadata.NewIncomingContext(context.Background(), md)
				if limited {
					ctx = &virtual{Context: ctx, k: n.c.k, at: at}
				}
				answer, failure := f.services.call(ctx, method, data)
				if !f.proc.dead {
					n.back(r, answer, failure)
				}
			})
		})
	})
}

func refusal() []byte {
	b, err := marshal(grpcstatus.New(codes.Unavailable, "connection refused").Proto())
	if err != nil {
		panic(err)
	}
	return b
}

func (n *conn) back(r *reply, answer, failure []byte) {
	data := answer
	if failure != nil {
		data = failure
	}
	n.carry(int(n.to.id), n.from, "answer", data, func([]byte) {
		n.p.later(0, "answered", func() {
			r.arrive(answer, failure)
			n.p.poll()
		})
	})
}

// carry gives a call or an answer to the network. Until all first stores belong to the cluster none is lost: a store
// whose answer to its join is lost joins again under another id.
func (n *conn) carry(from, to int, kind string, data []byte, deliver func([]byte)) {
	if n.c.complete {
		n.c.net.send(from, to, kind, data, deliver)
		return
	}
	n.c.k.after(between(n.p.r, n.c.o.LatencyLo, n.c.o.LatencyHi), to, kind, func() { deliver(data) })
}

// addressBase and the number that a store expected to get are its port.
const addressBase = 7000

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", addressBase+port) }

// connect returns the connection of a process on a node to an address. Where nobody is, the error is that of a call:
// real connections are made by their first one.
func (c *cluster) connect(p *process, node int, addr string) (grpc.ClientConnInterface, error) {
	for _, s := range c.stores {
		if address(s.port) == addr && !s.unborn {
			return &conn{c: c, p: p, from: node, to: s}, nil
		}
	}
	return nil, grpcstatus.Errorf(codes.Unavailable, "nobody has the address %s", addr)
}
