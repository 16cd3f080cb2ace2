// Package limits starves processes: of processor time, of memory, of writes to a device, by control
// groups of Linux (version 1 controllers, one group a node in each). A Group is made below the one that
// this program is in, so no limit that holds for the program is escaped.
//
// Groups are named by the process that made them. Sweep removes those whose maker is gone; a group can
// be removed when its processes have ended.
//
// How to test it: go test ./chaos/limits, as root.
package limits
