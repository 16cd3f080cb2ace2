package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto/rpcerr"
)

// verdict is what an answer means.
type verdict struct {
	again   bool          // try again
	reroute bool          // at once, when there is somewhere better to go
	fresh   bool          // the answer brought new routes
	wait    time.Duration // the least time before, asked for by the server
	unknown bool          // a write may have been executed
	settles bool          // it tells what became of the attempts before it, too
	silent  bool          // the endpoint did not answer
	timeout bool          // within the attempt's time
	broken  bool          // an answer that no program can act on
}

// classify is the table of section "Errors" in doc.go.
func classify(err error) verdict {
	var e rpcerr.Error
	if errors.As(err, &e) {
		return classifyTyped(e)
	}
	if errors.Is(err, errClosed) {
		return verdict{}
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted:
		return verdict{again: true, unknown: true, silent: true}
	case codes.Canceled:
		return verdict{again: true, unknown: true}
	case codes.DeadlineExceeded:
		return verdict{again: true, unknown: true, silent: true, timeout: true}
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return verdict{again: true, unknown: true, broken: true}
	case codes.ResourceExhausted:
		return verdict{unknown: true} // gRPC's own limit of a message's size, perhaps of the answer's
	case codes.InvalidArgument, codes.NotFound, codes.Unimplemented:
		return verdict{settles: true}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return verdict{unknown: true}
	}
	return verdict{}
}

func classifyTyped(e rpcerr.Error) verdict {
	switch e := e.(type) {
	case *rpcerr.NotLeaderError:
		return verdict{again: true, reroute: true}
	case *rpcerr.StaleEpochError:
		return verdict{again: true, reroute: true, fresh: len(e.Ranges) > 0}
	case *rpcerr.ThrottledError:
		return verdict{again: true, wait: time.Duration(e.RetryAfterMs) * time.Millisecond}
	case *rpcerr.TailFullError:
		return verdict{again: true, wait: time.Duration(e.RetryAfterMs) * time.Millisecond}
	case *rpcerr.AmbiguousError:
		return verdict{again: true, unknown: true}
	case *rpcerr.KeyUnavailableError:
		return verdict{again: !e.Revoked}
	case *rpcerr.TooLargeError, *rpcerr.InvalidArgumentError:
		return verdict{settles: true}
	}
	// The others are final. What they say about an attempt before depends on the request: see rpcerr.Settles.
	return verdict{}
}
