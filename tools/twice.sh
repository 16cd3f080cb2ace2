#!/usr/bin/env bash
# Runs a command, and once more when it fails: for tests that real clocks, disks and schedulers take part in, on machines
# that are shared. A first failure is said loudly and its output stays; one that is seen twice is a failure.
set -uo pipefail
"$@" && exit 0
printf '\n!!! FAILED ONCE, and is run again: %s\n!!! Read the output above: it may be a rare bug.\n\n' "$*"
"$@"
