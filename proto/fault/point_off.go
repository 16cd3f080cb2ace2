//go:build !chaos

package fault

// Point does nothing in this build.
func Point(PointName) {}
