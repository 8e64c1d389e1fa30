# Everything here needs Go, make and git; `make check` also a C compiler, for -race;
# `make test-kafka` Java 17 and Maven, or an Apache Kafka of your own in KAFKA_ADDR.

GO        ?= go
BIN       := bin/logagent
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   := -X main.version=$(VERSION)
PKGS      := ./...
FUZZPKGS  ?= $(PKGS)
TESTFLAGS ?=
SOAK      ?= 10m
CRASH     ?= 40s
BENCHPKGS ?= ./agent ./kafkaout ./ui ./ui/store
COUNT     ?= 10
BENCHTIME ?= 200ms
FLEETFLAGS ?= -o cmd/bench/fleet.md

.PHONY: build demo test test-kafka check lint race fuzz soak crash bench bench-peers bench-fleet BENCHMARKS.md bench-micro bench-compare screenshots clean

build: ## the one binary
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/logagent

demo: build ## etcd, Kafka, three hosts with live logs, the console on top
	$(BIN) demo

test: ## every test
	$(GO) test -timeout 15m $(TESTFLAGS) $(PKGS)

test-kafka: ## what must hold on kafkaout's brokers and daemons, on real Apache Kafka
	@[ -n "$$KAFKA_ADDR" ] || internal/kraft/fetch.sh >/dev/null
	LOGAGENT_KAFKA=real LOGAGENT_REQUIRE=kafka $(GO) test -run RealKafka -count=1 -timeout 20m $(TESTFLAGS) ./kafkaout ./internal/kraft ./cmd/logagent

check: lint race ## what must be true before a commit

lint: ## gofmt, vet, staticcheck, the import walls of .depguard.json, go.mod
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt-clean:"; echo "$$out"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)
	$(GO) tool depguard $(PKGS)
	$(GO) mod tidy -diff

race: ## every test under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 25m $(TESTFLAGS) $(PKGS)

# go test fuzzes one target at a time.
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list $(FUZZPKGS)); do \
	  for t in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$t"; $(GO) test -run '^$$' -fuzz "^$$t$$" -fuzztime $(or $(FUZZTIME),10s) $$pkg; \
	  done; done

soak: ## random programs of writers, rotation and operators against the agent for SOAK
	LOGAGENT_SOAK=$(SOAK) $(GO) test ./agent -run TestSoak -v -timeout 0

crash: ## kills the daemon over and over while files rotate, CRASH for each kind of rotation
	LOGAGENT_CRASH=$(CRASH) $(GO) test ./cmd/logagent -run 'TestDeliveryOverSIGKILL.*Rotat' -count=1 -timeout 30m -v $(TESTFLAGS)

bench: build ## whole-process figures of the agent in every situation that has an aim
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench rows -binary $(BIN) $(BENCHFLAGS)

bench-peers: build ## the same work done by rsyslog, syslog-ng, and nxadm/tail + AsyncProducer
	-cmd/bench/peers/fetch.sh >/dev/null
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench peers -binary $(BIN) $(PEERFLAGS)

bench-fleet: build ## thousands of agents on one etcd, and what a console needs to show them; writes its section of BENCHMARKS.md
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench fleet -binary $(BIN) $(FLEETFLAGS)

BENCHMARKS.md: build ## rows and peers in one run, as a page, with the section bench-fleet wrote last
	-cmd/bench/peers/fetch.sh >/dev/null
	$(GO) build -o bin/bench ./cmd/bench
	bin/bench report -o $@ -binary $(BIN) $(BENCHFLAGS)

bench-micro: ## every stage alone, COUNT times, to bin/bench-micro.txt
	@mkdir -p bin
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchtime $(BENCHTIME) -count $(COUNT) -timeout 60m $(BENCHPKGS) >bin/bench-micro.txt || { cat bin/bench-micro.txt; exit 1; }
	$(GO) tool benchstat bin/bench-micro.txt

bench-compare: ## BASE=<revision>: its benchmarks and the tree's, in turn, by benchstat
	GO='$(GO)' COUNT='$(COUNT)' BENCH='$(BENCH)' BENCHTIME='$(BENCHTIME)' internal/benchcompare.sh $(BASE) $(BENCHPKGS)

screenshots: build ## pictures of the real program
	$(GO) run ./screenshots

clean:
	rm -rf bin
