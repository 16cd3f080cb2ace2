package limits

import "errors"

// Probe tries whether this machine has what a Group needs.
func Probe() error {
	g, err := New("probe")
	if err != nil {
		return err
	}
	return errors.Join(g.LimitCPU(0.5), g.LimitMemory(64<<20),
		g.SlowWrites("7:0", 100), g.SlowWrites("7:0", 0), g.Freeze(), g.Thaw(), g.Close())
}
