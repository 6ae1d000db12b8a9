# What is built, tested and run, and how. `make help` lists the targets.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
DURATION ?= 60s
FUZZTIME ?= 30s
SEEDS    ?= 72
KILLS    ?= 50
ARGS     ?=
REPORT   := $(CURDIR)/bin/report

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BUF         := github.com/bufbuild/buf/cmd/buf@v1.50.0

.DEFAULT_GOAL := help
.PHONY: help run build test lint race microbench bench bench-growth bench-check sim chaos mutants fuzz report proto clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## a cluster of three nodes on this machine; ARGS="--nodes 5" and the like go to kgs dev
	./bin/kgs dev $(ARGS)

build: ## the binary, static: bin/kgs
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/kgs ./cmd/kgs

test: ## all tests; needs nothing but Go
	go test -skip '^TestSim$$' ./...
	go test ./test/sim -timeout 20m

lint: ## gofmt, go vet and staticcheck; of test/bench too if its modules are on this machine
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w these: $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	@cd test/bench && if GOPROXY=off go list -deps -test ./... >/dev/null 2>&1; then \
		go vet ./... && go run $(STATICCHECK) ./...; \
	else echo "test/bench is not looked at: its modules are not here"; fi

race: ## the tests of the packages with goroutines, under the race detector; needs a C compiler
	go test -race -short ./cluster/... ./fsm/... ./store/... ./httpapi/... ./cmd/...

microbench: ## the benchmarks of the packages
	go test -run '^$$' -bench . ./cluster/... ./fsm/... ./store/... ./httpapi/...

# A module of its own: its rivals are no dependencies of the product.
BENCH := cd test/bench && KGS_BENCH_ROUNDS='$(ROUNDS)' KGS_BENCH_SECONDS='$(SECONDS)' KGS_BENCH_LINKS='$(LINKS)' \
	KGS_BENCH_ONLY='$(value ONLY)' KGS_BENCH_URLS='$(abspath $(URLS))' go test -count=1 -v -timeout 0

bench: ## kgs against etcd, Postgres, Redis and its limits; quick: ROUNDS=1 SECONDS=2; some rows: ONLY=REGEXP; another file: URLS=FILE
	export KGS_BENCH=1; $(BENCH) -run TestTable

bench-growth: ## curves over links, nodes, clients, used keys, aliases; up to LINKS (1000000) links, some curves: ONLY=REGEXP
	export KGS_BENCH_GROWTH=1; $(BENCH) -run TestGrowth

bench-check: ## fails if a ratio of make bench is a fifth worse than in test/bench/baseline.json; UPDATE=1 writes that file
	export KGS_BENCH_CHECK=1 KGS_BENCH_UPDATE='$(UPDATE)'; $(BENCH) -run TestCheck

sim: ## the death of leaders in virtual time: SEEDS (72) runs of 90 virtual seconds
	KGS_REPORT_DIR=$(REPORT) KGS_SIM_SEEDS=$(SEEDS) go test ./test/sim -run TestSim -count=1 -v -timeout 0

mutants: ## bugs planted one at a time, each to be seen by a test; ARGS="NAME..." for some
	KGS_REPORT_DIR=$(REPORT) go run ./test/mutants $(ARGS)

chaos: ## faults at random on real processes, for DURATION (60s)
	KGS_REPORT_DIR=$(REPORT) KGS_CHAOS_DURATION=$(DURATION) go test ./test/chaos -run TestChaos -count=1 -v -timeout 0

# Minimizing is kept short: with goroutines in the background the same input
# covers other code each time, and there is no end to it.
fuzz: ## all fuzz targets in turn, for FUZZTIME (30s) each
	@grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package || exit 1; \
		done || exit 1; \
	done

# A part that fails has saved what it found: the page shows it.
report: ## bin/report/report.html about all parts of the proof; a part without a result there runs first (leader kills: KILLS, 50)
	@mkdir -p $(REPORT)
	@for part in sim chaos mutants; do \
		test -e $(REPORT)/$$part.json || $(MAKE) $$part || echo "$$part has failed"; \
	done
	@test -e $(REPORT)/kills.json || KGS_REPORT_DIR=$(REPORT) KGS_CHAOS_KILLS=$(KILLS) \
		go test ./test/chaos -run LeaderKills -count=1 -v -timeout 0 || echo "kills has failed"
	go run ./test/report/cmd $(REPORT) > $(REPORT)/report.html

proto: ## generates the code of the .proto files anew
	go run $(BUF) generate --template .buf.gen.yaml

clean: ## removes what was built
	rm -rf bin
