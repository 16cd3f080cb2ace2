package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// The exit codes.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitDenied      = 5
	exitUnavailable = 6
	exitAmbiguous   = 7
	exitDirectory   = 8
	exitCorrupt     = 9
	exitDiskFull    = 10
	exitVerdict     = 11
)

// exitNames is the table that `vipkv help exit-codes` prints; the index is the code.
func exitNames() [12][2]string {
	return [...][2]string{
		exitOK:          {"ok", "done"},
		exitOther:       {"error", "any other error"},
		exitUsage:       {"usage", "unknown flag, command or configuration key, or a bad argument"},
		exitNotFound:    {"not-found", "the key, record or tenant does not exist"},
		exitConflict:    {"conflict", "a condition did not hold, or what should be made exists; nothing was written"},
		exitDenied:      {"denied", "the credential is missing, unknown, or not allowed to do this"},
		exitUnavailable: {"unavailable", "no node could answer in time; nothing was written; try again"},
		exitAmbiguous:   {"ambiguous", "a write may or may not have taken effect"},
		exitDirectory:   {"directory-refused", "the data directory is of something else, another cluster or a newer version, or in use"},
		exitCorrupt:     {"corrupt", "stored bytes are not what was written"},
		exitDiskFull:    {"disk-full", "there is no space on the disk"},
		exitVerdict:     {"verdict", "a history or a run breaks a promise, or proves none"},
	}
}

func newExitCodes() *cobra.Command {
	var text strings.Builder
	text.WriteString("Every command ends with one of these codes. Under --json the error's \"code\" is the name.\n\n")
	for code, n := range exitNames() {
		fmt.Fprintf(&text, "  %2d  %-18s %s\n", code, n[0], n[1])
	}
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: text.String()}
}

// cliError is an error with its exit code and what the user can do next.
type cliError struct {
	code int
	hint string
	err  error
}

func (e *cliError) Error() string { return e.err.Error() }
func (e *cliError) Unwrap() error { return e.err }

// usagef makes an error of exit code 2.
func usagef(hint, format string, args ...any) error {
	return &cliError{code: exitUsage, hint: hint, err: fmt.Errorf(format, args...)}
}

// failf makes an error of the given exit code.
func failf(code int, hint, format string, args ...any) error {
	return &cliError{code: code, hint: hint, err: fmt.Errorf(format, args...)}
}

// report prints err and returns its exit code.
func report(w io.Writer, err error, asJSON bool) int {
	code, hint := explain(err)
	message := err.Error()
	message = strings.ReplaceAll(message, "rpc error: code = "+status.Code(err).String()+" desc = ", "")
	if asJSON {
		e := map[string]any{"code": exitNames()[code][0], "exit": code, "message": message}
		if hint != "" {
			e["hint"] = hint
		}
		if encodeErr := json.NewEncoder(w).Encode(map[string]any{"error": e}); encodeErr == nil {
			return code
		}
	}
	fmt.Fprintf(w, "vipkv: %s\n", message)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	return code
}

// explain finds the exit code of an error and what to do next.
func explain(err error) (code int, hint string) {
	var cli *cliError
	if errors.As(err, &cli) {
		return cli.code, cli.hint
	}
	if code, hint, ok := explainTyped(err); ok {
		return code, hint
	}
	if code, hint, ok := explainLocal(err); ok {
		return code, hint
	}
	switch status.Code(err) {
	case codes.NotFound, codes.OutOfRange:
		return exitNotFound, ""
	case codes.AlreadyExists, codes.FailedPrecondition:
		return exitConflict, ""
	case codes.Unauthenticated:
		return exitDenied, "check --credential or VIPKV_CREDENTIAL; it must be of this cluster"
	case codes.PermissionDenied:
		return exitDenied, "tenant data needs the tenant's credential, administration the cluster's admin credential"
	case codes.InvalidArgument:
		return exitUsage, ""
	case codes.DataLoss:
		return exitCorrupt, ""
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return exitUnavailable, "check --endpoints and that the nodes run: vipkv status"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitUnavailable, "raise --timeout, or check the nodes: vipkv status"
	}
	return exitOther, ""
}

// explainTyped knows the errors that the cluster answers with. An unknown outcome comes before all others.
func explainTyped(err error) (code int, hint string, ok bool) {
	var ambiguous *rpcerr.AmbiguousError
	if errors.As(err, &ambiguous) {
		return exitAmbiguous, "read what you wrote before you write it again", true
	}
	if errors.Is(err, client.ErrNotFound) {
		return exitNotFound, "", true
	}
	var typed rpcerr.Error
	if !errors.As(err, &typed) {
		return 0, "", false
	}
	switch e := typed.(type) {
	case *rpcerr.ConditionFailedError:
		return exitConflict, "read the key's version, then decide", true
	case *rpcerr.StreamConflictError:
		return exitConflict, "vipkv stream head shows where the stream is", true
	case *rpcerr.RequestReusedError:
		return exitConflict, "", true
	case *rpcerr.InvalidArgumentError, *rpcerr.TooLargeError:
		return exitUsage, "", true
	case *rpcerr.BelowFloorError:
		return exitNotFound, fmt.Sprintf("read from %d on", e.FloorSeq), true
	case *rpcerr.TenantStateError:
		return exitDenied, "", true
	case *rpcerr.IntegrityError:
		return exitCorrupt, "the value was changed outside of the store, or moved; restore it from a backup", true
	case *rpcerr.DiskFullError:
		return exitDiskFull, "free space on that store, or add a node", true
	case *rpcerr.KeyUnavailableError:
		return exitUnavailable, "check the key service", true
	case *rpcerr.ThrottledError, *rpcerr.TailFullError:
		return exitUnavailable, "try again later, or slower", true
	case *rpcerr.NotLeaderError, *rpcerr.StaleEpochError:
		return exitUnavailable, "the range has no leader now; vipkv status tells more", true
	}
	return exitOther, "", true
}

// explainLocal knows the errors of this machine.
func explainLocal(err error) (code int, hint string, ok bool) {
	var integrity *encryption.IntegrityError
	switch {
	case errors.Is(err, engine.ErrLocked):
		return exitDirectory, "another process has it open; stop that one, or choose another --data", true
	case errors.Is(err, engine.ErrForeignDir):
		return exitDirectory, "choose an empty directory for --data", true
	case errors.Is(err, node.ErrWrongKeyfile):
		return exitDirectory, "use the keyfile of the cluster that the directory belongs to", true
	case errors.Is(err, engine.ErrNewerFormat):
		return exitDirectory, "start it with the version that wrote it, or a newer one", true
	case errors.Is(err, engine.ErrCorrupt), errors.As(err, &integrity):
		return exitCorrupt, "remove the node from the cluster and start it again with an empty directory", true
	case errors.Is(err, engine.ErrDiskFull), errors.Is(err, syscall.ENOSPC):
		return exitDiskFull, "free space, then start again", true
	case errors.Is(err, syscall.EIO):
		return exitOther, "the disk fails; replace it and start with an empty directory: " +
			"the other nodes have the data", true
	case errors.Is(err, syscall.ENOTDIR):
		return exitOther, "a file is where a directory should be; choose another path", true
	case errors.Is(err, syscall.EADDRINUSE):
		return exitOther, "another process listens there; choose another address", true
	case errors.Is(err, os.ErrPermission):
		return exitOther, "check who owns the file and its directory", true
	}
	return 0, "", false
}
