package history

// Fault is one injection of one fault, on the clock of the operations. Reports draw it as a band; a run whose faults
// never bit proves nothing.
type Fault struct {
	Name   string   `json:"fault"`  // one of the vocabulary of package nemesis
	Target string   `json:"target"` // what it hit, for people: "node 2", "node 1 to 3", "all"
	Nodes  []uint64 `json:"nodes,omitempty"`
	Start  int64    `json:"start_ns"`
	End    int64    `json:"end_ns"` // when it was mended; 0: never
	// Bit tells whether its effect was seen: the process was gone, packets were dropped, the disk did stall.
	Bit      bool   `json:"bit"`
	Evidence string `json:"evidence,omitempty"` // by what it was seen, or why it was not
}
