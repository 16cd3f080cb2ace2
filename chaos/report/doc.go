// Package report tells people and programs what a run saw. Write makes a folder of files from a Run:
//
//	index.html      one page without scripts and without anything from outside: verdict, timelines, anomalies in words
//	report.json     the same as data, without the operations
//	junit.xml       a case for each verdict and budget; what is void or undecided is an error, never a skip
//	history.ndjson  all operations, for vipkv chaos check
//	faults.ndjson   all faults
//
// It judges nothing by itself: Run.Conclude only puts together what checkers, budgets and the harness found. Every text
// on the page may come from a hostile key or error message and is escaped by html/template; strings that are not
// escaped are made of numbers here.
//
// How to test it: go test ./chaos/report, and with -out DIR -run Demo it writes a report of an invented run to look at.
package report
