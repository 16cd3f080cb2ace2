package fault

// Quirk names a place where the code may behave in a way that is legal, and rare when nobody asks for it. Such a place
// is active in a whole run or not at all, and when it is, it fires now and then.
type Quirk string

// QuirkRow is a row of the list of such places.
type QuirkRow struct {
	Name  Quirk
	Does  string
	Fires float64 // the chance, each time that an active one is asked
}

// Quirks lists all of them.
func Quirks() []QuirkRow {
	return []QuirkRow{
		{"apply-one", "one entry goes into a batch of applies", 0.25},
		{"append-apart", "two ranges' log writes do not share a step", 0.25},
		{"sync-anyway", "a log write is synced that need not be", 0.25},
		{"drop-cache", "what is applied leaves the entry cache at once", 0.25},
		{"truncate-eagerly", "a leader cuts the log as far as it may", 0.25},
		{"refuse-reservation", "a range snapshot is refused", 0.25},
		{"snapshot-unavailable", "no range snapshot can be made just now", 0.25},
		{"read-alone", "reads do not share a quorum round", 0.25},
		{"queue-seems-full", "a proposal is refused as if its queue were full", 0.02},
		{"drop-early", "a message for a right-hand side that is being made is dropped", 0.25},
		{"forget-to-tell-gone", "a replica that was removed is not told", 0.25},
		{"no-campaign", "the right-hand side of a split waits for an election timeout", 0.25},
	}
}
