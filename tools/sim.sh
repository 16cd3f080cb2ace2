#!/usr/bin/env bash
# Simulates SEEDS seeds, from FROM on, in one process a core: a simulation owns its process's source of randomness. The
# build has the tag chaos, for its probes and quirks. One table sums the processes up; a failure prints its seed, how to
# replay it and how to shrink it.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:?usage: tools/sim.sh SEEDS [FROM]}
from=${2:-1}
cores=$(nproc)
[ "$cores" -le "$seeds" ] || cores=$seeds
mkdir -p bin
go test -tags chaos -c -o bin/sim.test ./chaos/sim
logs=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$logs"' EXIT
for ((i = 0; i < cores; i++)); do
	first=$((from + seeds * i / cores))
	count=$((from + seeds * (i + 1) / cores - first))
	(cd chaos/sim && GOMAXPROCS=1 exec ../../bin/sim.test -test.v -test.run '^TestSeeds$' -test.timeout 60m \
		-from="$first" -seeds="$count" -json="$logs/$i.json") >"$logs/$i" 2>&1 &
	pids+=($!)
done
status=0
for ((i = 0; i < cores; i++)); do
	wait "${pids[$i]}" || { status=1; cat "$logs/$i"; }
done
(cd chaos/sim && ../../bin/sim.test -test.run '^TestMerge$' -merge="$logs") || status=1
[ "$status" = 0 ] && echo "simulated $seeds seeds from $from on: ok"
exit "$status"
