package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

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

// WriteFaults writes faults as newline-delimited JSON.
func WriteFaults(w io.Writer, faults []Fault) error {
	enc := json.NewEncoder(w)
	for i := range faults {
		if err := enc.Encode(&faults[i]); err != nil {
			return fmt.Errorf("write faults: %w", err)
		}
	}
	return nil
}

// ReadFaults reads what WriteFaults wrote. A field or line that it does not know is an error, and so is a fault that
// ends before it starts.
func ReadFaults(r io.Reader) ([]Fault, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var faults []Fault
	for {
		var f Fault
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) {
			return faults, nil
		}
		if err == nil && (f.Name == "" || f.End != 0 && f.End < f.Start) {
			err = fmt.Errorf("%q from %d to %d is no fault", f.Name, f.Start, f.End)
		}
		if err != nil {
			return nil, fmt.Errorf("read faults: fault %d: %w", len(faults)+1, err)
		}
		faults = append(faults, f)
	}
}
