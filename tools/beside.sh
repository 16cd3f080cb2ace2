#!/usr/bin/env bash
# Runs two commands at once: work that computes, in the scheduler's idle class, where it takes what is left over, and work
# that mostly waits. It prints what the first one said when both have ended, and fails when one of them does.
set -uo pipefail
computes=${1:?usage: tools/beside.sh COMPUTES WAITS}
waits=${2:?usage: tools/beside.sh COMPUTES WAITS}
idle=(nice -n 19)
chrt -i 0 true 2>/dev/null && idle=(chrt -i 0)
out=$(mktemp)
set -m # a process group of its own, so that all of it can be ended
"${idle[@]}" bash -c "$computes" >"$out" 2>&1 &
pid=$!
set +m
trap 'kill -- -"$pid" 2>/dev/null; rm -f "$out"' EXIT
bash -c "$waits" || exit 1
wait "$pid"
status=$?
cat "$out"
[ "$status" = 0 ] || echo "FAILED: $computes"
exit "$status"
