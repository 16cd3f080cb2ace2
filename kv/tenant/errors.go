package tenant

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// AlreadyExistsError: the name is taken; nothing was done. It travels as AlreadyExists.
type AlreadyExistsError struct{ Name string }

func (e *AlreadyExistsError) Error() string {
	return fmt.Sprintf("there is a tenant %q already", e.Name)
}

// GRPCStatus gives the error its code on the wire.
func (e *AlreadyExistsError) GRPCStatus() *status.Status {
	return status.New(codes.AlreadyExists, e.Error())
}

// NotFoundError: there is no such tenant or credential; nothing was done. It travels as NotFound.
type NotFoundError struct{ What string }

func (e *NotFoundError) Error() string { return "there is no " + e.What }

// GRPCStatus gives the error its code on the wire.
func (e *NotFoundError) GRPCStatus() *status.Status { return status.New(codes.NotFound, e.Error()) }

// UnauthenticatedError: who calls is not known; nothing was done. It travels as Unauthenticated. Reason says what to do
// and holds no part of the secret.
type UnauthenticatedError struct{ Reason string }

func (e *UnauthenticatedError) Error() string { return e.Reason }

// GRPCStatus gives the error its code on the wire.
func (e *UnauthenticatedError) GRPCStatus() *status.Status {
	return status.New(codes.Unauthenticated, e.Reason)
}

func missing() error {
	return &UnauthenticatedError{Reason: "no credential was given; " +
		"give the tenant's credential with --credential or the environment variable VIPKV_CREDENTIAL " +
		"(programs: the metadata \"authorization: Bearer vipkv1_...\")"}
}

func malformed(why string) error {
	return &UnauthenticatedError{Reason: "the credential " + why + "; it looks like " +
		"vipkv1_<12 characters>_<43 characters>_<8 digits>: " +
		"check that all of it is in --credential or VIPKV_CREDENTIAL"}
}

func wrong() error {
	return &UnauthenticatedError{Reason: "the credential is not known here or was revoked; " +
		"check that --credential or VIPKV_CREDENTIAL is for this cluster, " +
		"or make a new one with `vipkv tenant credential`"}
}
