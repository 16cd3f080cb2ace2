# make alone prints the targets. Each is one line that can be typed by hand.
DATA ?= ./.vipkv
NODES ?= 3
SEEDS ?= 200
HOURS ?= 1
TEST_TIMEOUT ?= 15m
MESSAGES ?=
ACCEPT ?= go test ./chaos/proc -run Accept -count=1 -v -timeout=60m -rounds=10 -trials=9 -data=$(MESSAGES)
CHAOS ?= go test ./chaos/machine -run 'TestChaos|TestPowerLoss' -count=1 -v -timeout=60m
FAILOVER ?= go test ./chaos/failover -run TestFailover -count=1 -v -timeout=120m
TRIALS ?= 9
SMOKE ?= go test ./chaos/proc -run Smoke -count=1 -v -timeout=10m
BENCH ?= bin/vipkv bench put --callers 1,64,256
PROTOS := $(wildcard proto/vipkv/v1/*.proto proto/vipkv/node/v1/*.proto)
TOOL := go tool -modfile=tools/go.mod
# Where goroutines meet. The PURE packages have none: the race detector would only make them slow.
RACE := ./raftstore ./raftstore/engine/... ./raftstore/transport ./txn ./placement ./placement/tso \
	./encryption ./kv/... ./proto/authz ./chaos/workload/load
FUZZ_TIME ?= 10s

.DEFAULT_GOAL := help

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

build: ## build bin/vipkv
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/vipkv ./cmd/vipkv

run: build ## start a three-node cluster on this machine (DATA=./.vipkv, NODES=3); Ctrl-C stops it
	bin/vipkv demo --nodes $(NODES) --data $(DATA)

test: lint unit race nullcipher no-faults ## all that must be green before a change goes in
	./tools/beside.sh "$(MAKE) sim mutants" "./tools/twice.sh $(MAKE) processes"
	./tools/twice.sh $(MAKE) machines
	./tools/twice.sh $(MAKE) bubble
	./tools/twice.sh $(MAKE) chaos-short
	./tools/twice.sh $(MAKE) soak-short

unit: ## the tests of the packages that neither race runs nor one of the targets for whole clusters
	go test -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -vxF "$$(go list $(RACE))" | \
		grep -vE '/chaos/(proc|bubble|live|netns|disk|limits|sandbox)$$')

race: ## the tests of the packages that have goroutines, with the race detector
	go test -race -timeout $(TEST_TIMEOUT) $(RACE)

sim: ## simulate a cluster from SEEDS=200 seeds, one process a core
	./tools/sim.sh $(SEEDS)

mutants: ## show that the tests turn red when a rule is broken on purpose
	./tools/mutants-once.sh

mutants-full: ## twenty campaigns against each mutant, or MUTANTS=A,B; writes docs/mutants.md and docs/mutants.json (an hour)
	./tools/mutants.sh 20 300 $(MUTANTS)

nullcipher: ## show that the search for plaintext finds it in a build that does not encrypt
	go test -tags nullcipher ./encryption ./kv/node -run 'Null|Canar' -count=1

no-faults: build ## show that the binary holds no fault point, and that a build with the tag chaos does
	go build -tags chaos -o bin/vipkv-chaos ./cmd/vipkv
	go tool nm bin/vipkv-chaos | grep vipkv/proto/fault >/dev/null
	! go tool nm bin/vipkv | grep vipkv/proto/fault

processes: ## the tests on real processes: faults, bad input, a short acceptance run, vipkv chaos run
	go test ./chaos/proc -count=1 -timeout=30m
	go test ./chaos/live -count=1 -timeout=10m

machines: ## the tests of what makes and breaks machines: namespaces, disks, limits (as root; CHAOS_REQUIRE=1: none may be skipped)
	go test ./chaos/sandbox ./chaos/netns ./chaos/disk ./chaos/limits -count=1 -timeout=10m

chaos-short: ## each fault of machines once, on real processes in namespaces, as root (7 min)
	$(CHAOS) -rounds=1 -hold=6s

chaos: ## the same for 20 minutes
	$(CHAOS) -rounds=2 -hold=15s

failover: ## how long writes wait when a machine fails, on a quiet machine, as root (TRIALS=9, WRITE=1: into docs)
	$(FAILOVER) -trials=$(TRIALS) $(if $(WRITE),-doc=$(CURDIR)/docs/recovery.md -figures=$(CURDIR)/docs/recovery.json)

chaos-smoke: ## kill and pause real processes for a minute
	$(SMOKE)

bubble: ## real nodes in virtual time under the race detector: power losses, cuts, splits, joins, idle time
	go test -race ./chaos/bubble -count=1 -timeout=30m

bubble-day: ## a day of an idle cluster, in virtual time
	VIPKV_BUBBLE_IDLE=24h go test ./chaos/bubble -run TestIdle -count=1 -v -timeout=30m

soak-short: ## two minutes of it
	go test ./chaos/soak -count=1 -timeout=10m -hours=0.034

soak: ## real processes under load and faults for HOURS=1 (0.034: two minutes), whose memory must not grow
	go test ./chaos/soak -count=1 -v -timeout=0 -hours=$(HOURS)

accept: ## the long acceptance run: real processes, real messages, kills (MESSAGES=FILE to import)
	$(ACCEPT)

bench: build ## the figures of docs/performance.md, against a running cluster (BENCH= is the command)
	$(BENCH)

fuzz-short: ## each fuzz target for FUZZ_TIME=10s
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ohE '^func Fuzz[A-Za-z0-9_]+' $$p/*_test.go | cut -c6-); do \
			echo "$$p $$f"; go test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ_TIME) || exit 1; \
		done; \
	done

lint: ## go vet, staticcheck and the rules of the house
	go vet ./...
	go vet -tags chaos ./...
	$(TOOL) staticcheck ./...
	go test ./cmd/internal/tidy -count=1

proto: ## generate Go from proto/**/*.proto (needs Debian's protobuf-compiler)
	@mkdir -p bin
	go build -modfile=tools/go.mod -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(CURDIR)/bin:$$PATH protoc -I proto --go_out=. --go_opt=module=github.com/vipkv/vipkv --go-grpc_out=. --go-grpc_opt=module=github.com/vipkv/vipkv $(PROTOS)

proto-check: ## fail when the generated code is not what the .proto files give
	./tools/proto-check.sh

govulncheck: ## look for known vulnerabilities in dependencies
	@echo "SKIPPED govulncheck: its vulnerability database is not reachable from here"

clean: ## remove what was built (data in DATA stays)
	rm -rf bin
	go clean -testcache

.PHONY: help build run test unit race sim mutants mutants-full nullcipher no-faults processes machines chaos chaos-short failover \
	chaos-smoke bubble bubble-day soak soak-short accept bench fuzz-short lint proto proto-check govulncheck clean
