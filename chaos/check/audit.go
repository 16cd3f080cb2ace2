package check

// Dump is what a store holds when all clients have stopped.
type Dump struct {
	Keys []DumpKey `json:"keys,omitempty"`
	// Streams have records for versions, in order of numbers from 1.
	Streams []DumpKey `json:"streams,omitempty"`
	// NewestOnly: only the newest version of each key was read.
	NewestOnly bool `json:"newest_only,omitempty"`
}

// DumpKey is one key, or one stream.
type DumpKey struct {
	Tenant   string        `json:"tenant,omitempty"`
	Key      string        `json:"key"`
	Versions []DumpVersion `json:"versions"`
}

// DumpVersion is one version of a key, or one record: its value is the client's id then.
type DumpVersion struct {
	Version uint64 `json:"version"`
	Value   string `json:"value"`
}
