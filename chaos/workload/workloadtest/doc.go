// Package workloadtest holds a cluster in memory that is right, and can be made wrong in one way at a time. Workloads
// must pass on the right one, whatever it honestly does not know, and be rejected on each wrong one that they claim to
// see. It keeps all versions, each with its timestamp; it has no ranges.
package workloadtest
