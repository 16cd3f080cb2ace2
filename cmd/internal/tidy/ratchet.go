package tidy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const ratchetHeader = "# What is over its limit: kind, where, number. Numbers may only shrink.\n"

// ParseRatchet reads the table of known sizes.
func ParseRatchet(text string) (map[string]int, error) {
	rows := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, '\t')
		if cut < 0 {
			return nil, fmt.Errorf("ratchet line %d: want kind, where and number", i+1)
		}
		n, err := strconv.Atoi(line[cut+1:])
		if err != nil {
			return nil, fmt.Errorf("ratchet line %d: %w", i+1, err)
		}
		rows[line[:cut]] = n
	}
	return rows, nil
}

// FormatRatchet is the inverse of ParseRatchet, in a fixed order. Sizes over a hard limit are left out.
func FormatRatchet(sizes []Size) string {
	var rows []string
	for _, s := range sizes {
		if s.Hard == 0 || s.Now <= s.Hard {
			rows = append(rows, fmt.Sprintf("%s\t%d\n", s.key(), s.Now))
		}
	}
	slices.Sort(rows)
	return ratchetHeader + strings.Join(rows, "")
}
