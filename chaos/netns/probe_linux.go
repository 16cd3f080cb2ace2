package netns

import "errors"

// Probe tries whether this machine has what a Network needs: namespaces and TUN devices.
func Probe() error {
	n, err := New(0)
	if err != nil {
		return err
	}
	return errors.Join(n.AddHost(1), n.Close())
}
