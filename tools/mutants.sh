#!/usr/bin/env bash
# Runs CAMPAIGNS campaigns of at most SEEDS seeds against each mutant, in one process a core, and puts the result into
# docs/mutants.md and docs/mutants.json. It fails when a mutant got through. MUTANTS names some, parted by commas: what is
# written of the others stays.
set -euo pipefail
cd "$(dirname "$0")/.."
campaigns=${1:?usage: tools/mutants.sh CAMPAIGNS [SEEDS] [MUTANTS]}
seeds=${2:-300}
only=${3:-}
cores=$(nproc)
mkdir -p bin
go test -tags chaos -c -o bin/mutants.test ./chaos/sim
scores=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$scores"' EXIT
cd chaos/sim
for ((i = 0; i < cores; i++)); do
	GOMAXPROCS=1 ../../bin/mutants.test -test.v -test.run '^TestCampaigns$' -test.timeout 10h -campaigns="$campaigns" \
		-mutant-seeds="$seeds" -only="$only" -part="$i" -parts="$cores" -scores="$scores" >"$scores/$i.log" 2>&1 &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || { cat "$scores"/*.log; exit 1; }
done
../../bin/mutants.test -test.v -test.run '^TestScore$' -only="$only" \
	-scores="$scores" -page=../../docs/mutants.md -score=../../docs/mutants.json
