// Package tidy holds the rules of the house as tables, and the test that holds the tree to them: which package may
// import which, which packages are PURE, how long a file, a function and a line may be, which calls are not made and
// what to use instead, which packages explain themselves, and which words do not appear.
//
// It is not a linter for style: gofmt, vet and staticcheck are. It only reads sources; it builds nothing.
//
// How to test it: `go test ./cmd/internal/tidy`. Every check reports all its offenders at once. Sizes that were over
// the limit when the rule came are in ratchet.tsv with their number, which may only shrink; after shrinking one,
// `go test ./cmd/internal/tidy -update` rewrites the table from the tree. The tables in policy.go change through an
// ADR, never to make a build pass.
package tidy
