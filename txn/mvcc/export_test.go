package mvcc

// HeadWindow is the number of window bytes in a stored head row.
func HeadWindow(value []byte) int64 {
	_, payload, err := parseVersion(value)
	if err != nil {
		panic(err)
	}
	var h headRow
	if err := h.parse(payload); err != nil {
		panic(err)
	}
	return h.window
}
