// Package point holds the places in the product's code at which a test can make its process die, as SIGKILL does. In a
// build without the tag `chaos` Hit does nothing and is compiled away, like all of package fault.
package point

// Name is the name of a place.
type Name string

// The places. Both are passed when a command was carried out and its answer has not left.
const (
	AnswerPut    Name = "answer-put"
	AnswerAppend Name = "answer-append"
)

// All lists all places.
func All() []Name { return []Name{AnswerPut, AnswerAppend} }
