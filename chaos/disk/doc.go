// Package disk is a disk of its own for each node of a run: an ext4 file system in a file, on a loop
// device, that loses power, stalls, fills up and is searched.
//
// What each fault is. Power loss: the file system is shut down without its journal being written
// (EXT4_IOC_SHUTDOWN), so the kernel's page cache is lost and only what was synced is there after the
// next mount; the process must be stopped before and killed after. A stall: writers are blocked until
// Thaw (FIFREEZE). Full: a file takes all space but so much. Slow writes are package limits.
//
// What it is not: it does not fail single operations; the product's own build with fault points does
// (VIPKV_FAULT_FS).
//
// Leftovers. The image has no name once it is attached, the device detaches itself with its last user,
// and the mount is in the program's own mount namespace (package sandbox): all go with the program,
// however it ends. A frozen file system would keep processes from ending, so a child, which outlives
// this program, thaws it after a limit, or when this program is gone.
//
// A Disk is for one goroutine.
//
// How to test it: go test ./chaos/disk, as root.
package disk
