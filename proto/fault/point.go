package fault

// PointName is the name of a place in the code at which a process can be made to die.
type PointName string

// The points. Both are passed when a command was carried out and its answer has not left.
const (
	AnswerPut    PointName = "answer-put"
	AnswerAppend PointName = "answer-append"
)

// Points lists all points.
func Points() []PointName { return []PointName{AnswerPut, AnswerAppend} }
