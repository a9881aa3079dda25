# Everything a newcomer needs: make demo, make test. Everything a change needs:
# make check. All of them install what a fresh Debian machine lacks.

GO       ?= go
PACKAGES ?= ./...
FUZZTIME ?= 20s
# SEEDS is how many storms make soak lets loose, FROM the first one's seed.
SEEDS    ?= 1000
FROM     ?= 1
# What fails leaves its history, and a picture of what cannot be, in bin/_artifacts.
KEEP     := -artifacts -outputdir bin
# Messages between peers need libzmq. Where it is missing, and cannot be installed, all is
# built and tested without them. Asked anew for each recipe: tools may have installed it.
TAGS      = $(shell pkg-config --exists libzmq 2>/dev/null || echo -tags=kith_nozmq)

.PHONY: build demo test storm soak check lint bench bench-kv bench-lock bench-msg fuzz generate tools clean

build: tools
	$(GO) build $(TAGS) -o bin/kith ./cmd/kith

demo: build
	bin/kith demo

test: tools
	$(GO) test $(TAGS) $$(command -v gcc >/dev/null 2>&1 && echo -race) -timeout 20m $(PACKAGES)

check: lint test

# Clusters in virtual time, with loss, cuts, crashes and lost power, judged by what
# their clients were told: more of them than make test has, without the race detector.
storm: tools
	@mkdir -p bin
	$(GO) test $(TAGS) -count=1 $(KEEP) -timeout 40m -run 'TestStorm$$' -storm.seeds 300 .

# An hour or so; more with SEEDS=10000. A seed that fails prints the command that tries
# it again.
soak: tools
	@mkdir -p bin
	$(GO) test $(TAGS) -count=1 $(KEEP) -timeout 4h -run 'TestStorm$$' -storm.seeds $(SEEDS) -storm.from $(FROM) .
	$(GO) test $(TAGS) -count=1 -timeout 1h ./internal/founding -times 50
	$(GO) test $(TAGS) -count=1 -timeout 1h ./internal/wal -seeds 500
	$(GO) test $(TAGS) -count=1 -timeout 1h ./internal/state -rapid.checks 50000
	$(GO) test $(TAGS) -count=1 -timeout 1h ./kv -rapid.checks 50000
	$(GO) test $(TAGS) -count=1 -timeout 1h ./transport/zmq -run 'NoWakeUpIsLost|LongStream' -zmq.soak 5m -zmq.stream 10240
	$(GO) test $(TAGS) -count=1 $(KEEP) -timeout 2h ./internal/proof -proof.seeds 50 -proof.from $(FROM) -proof.rounds 200

# Format, vet, staticcheck, tidy go.mod, a build without cgo, and the house rules
# (who imports whom, everything exported documented: internal/rules).
lint: tools
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(TAGS) ./...
	$(GO) tool staticcheck $(TAGS) ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) vet ./...
	$(GO) test -count=1 $(TAGS) ./internal/rules

# Benchmarks; the figures are explained in docs/performance.md.
bench: tools
	$(GO) test -run '^$$' -bench . -benchtime 2s -timeout 60m ./peers ./kithtest/memnet . ./membership
	cd bench && $(GO) test -v -timeout 60m ./gossip -args -big
	cd bench && $(GO) run ./start

# Keys beside etcd and NATS JetStream, on this machine's disk; half an hour. ARGS=-quick
# takes a minute, ARGS=-extra adds what a million keys cost.
bench-kv: tools
	cd bench && $(GO) run ./kv $(ARGS)

# Locks and groups beside etcd's package concurrency and ZooKeeper (apt-get install
# zookeeper; without it that column is missing); half an hour. ARGS=-quick takes a minute.
bench-lock: tools
	cd bench && $(GO) run ./lock $(ARGS)

# Messages beside C's libzmq, NATS, gRPC and TCP; twenty minutes. It needs libzmq
# (apt-get install gcc libc6-dev pkg-config libzmq3-dev). ARGS=-quick takes a minute.
bench-msg: tools
	cd bench && $(GO) run ./msg $(ARGS)

# Every fuzz target for FUZZTIME each.
fuzz: tools
	@for pkg in $$($(GO) list $(TAGS) ./...); do \
		for target in $$($(GO) test $(TAGS) -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$target"; \
			$(GO) test $(TAGS) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

# The Go code of the formats on disk and between nodes, after a change of
# internal/state/statepb/state.proto.
generate:
	@command -v protoc >/dev/null 2>&1 || ./.ci/install protobuf-compiler || \
		{ echo "no protoc, and it could not be installed: see internal/state/statepb/doc.go"; exit 1; }
	$(GO) generate ./internal/state/statepb

# What there must be beyond Go, git and make: a C compiler, for the race detector and
# libzmq, and libzmq.
tools:
	@{ command -v gcc && pkg-config --exists libzmq; } >/dev/null 2>&1 || \
		./.ci/install gcc libc6-dev pkg-config libzmq3-dev || \
		echo "libzmq is missing and cannot be installed from here: going on without messages between peers;" \
			"to have them, as root: apt-get install gcc libc6-dev pkg-config libzmq3-dev"
	@command -v gcc >/dev/null 2>&1 || echo "there is no C compiler: testing without the race detector"

clean:
	rm -rf bin
