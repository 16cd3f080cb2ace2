// Package enginetest is the conformance suite of engine.Engine. Every engine, and every fake of one, passes
// RunConformance and RunModel.
package enginetest
