#!/usr/bin/env bash
# Shows that each mutant is killed by a checker that is nominated for it: of the simulator, in one process a core, and of
# the crash tests on real Pebble.
set -euo pipefail
cd "$(dirname "$0")/.."
cores=$(nproc)
mkdir -p bin
go test -tags chaos -c -o bin/mutants.test ./chaos/sim
logs=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$logs"' EXIT
tests=Mutant
for ((i = 0; i < cores; i++)); do
	(cd chaos/sim && GOMAXPROCS=1 exec ../../bin/mutants.test -test.v -test.run "$tests" -test.timeout 60m \
		-part="$i" -parts="$cores") >"$logs/$i" 2>&1 &
	pids+=($!)
	tests='^TestMutants$' # the others are not shared
done
status=0
go test -tags chaos ./raftstore -run Mutant -count=1 -v -timeout=15m || status=1
for ((i = 0; i < cores; i++)); do
	wait "${pids[$i]}" || status=1
	cat "$logs/$i"
done
exit "$status"
