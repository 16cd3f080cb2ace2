package raftstore

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	logWrites, logSteps, applyWrites, splits, queueFull, messagesDropped prometheus.Counter
	slowDisk                                                             prometheus.Counter
	snapshotsSent, snapshotsFailed, snapshotsInstalled, snapshotBytes    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "vipkv_raftstore_" + name + "_total", Help: help})
		r.MustRegister(c)
		return c
	}
	return &metrics{
		logWrites:          counter("log_writes", "Batches written to the log, each with one sync."),
		logSteps:           counter("log_steps", "Log steps of workers that went into those batches."),
		applyWrites:        counter("apply_writes", "Batches of applied commands."),
		splits:             counter("splits", "Ranges split by this store."),
		queueFull:          counter("queue_full", "Proposals refused because a queue was full."),
		slowDisk:           counter("slow_disk_ticks", "Ticks at which this disk was behind others."),
		messagesDropped:    counter("messages_dropped", "Raft messages dropped because a worker was behind."),
		snapshotsSent:      counter("snapshots_sent", "Range snapshots sent and installed by the receiver."),
		snapshotsFailed:    counter("snapshots_failed", "Range snapshots that were refused or failed."),
		snapshotsInstalled: counter("snapshots_installed", "Range snapshots installed here."),
		snapshotBytes:      counter("snapshot_sent_bytes", "Bytes of tables sent in range snapshots, uncompressed."),
	}
}

// raftLogger passes raft's messages on; its panics stay panics.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) Debug(...any)                {}
func (l raftLogger) Debugf(string, ...any)       {}
func (l raftLogger) Info(...any)                 {}
func (l raftLogger) Infof(string, ...any)        {}
func (l raftLogger) Warning(v ...any)            { l.log.Debug("raft", "text", fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) { l.log.Debug("raft", "text", fmt.Sprintf(f, v...)) }
func (l raftLogger) Error(v ...any)              { l.log.Info("raft", "text", fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any)   { l.log.Info("raft", "text", fmt.Sprintf(f, v...)) }
func (l raftLogger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (l raftLogger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
