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

.PHONY: build demo test storm soak check lint bench bench-kv bench-lock fuzz generate tools clean

build:
	$(GO) build -o bin/kith ./cmd/kith

demo: build
	bin/kith demo

test: tools
	$(GO) test $$(command -v gcc >/dev/null 2>&1 && echo -race) -timeout 20m $(PACKAGES)

check: lint test

# Clusters in virtual time, with loss, cuts, crashes and lost power, judged by what
# their clients were told: more of them than make test has, without the race detector.
storm:
	@mkdir -p bin
	$(GO) test -count=1 $(KEEP) -timeout 40m -run 'TestStorm$$' -storm.seeds 300 .

# An hour or so; more with SEEDS=10000. A seed that fails prints the command that tries
# it again.
soak:
	@mkdir -p bin
	$(GO) test -count=1 $(KEEP) -timeout 4h -run 'TestStorm$$' -storm.seeds $(SEEDS) -storm.from $(FROM) .
	$(GO) test -count=1 -timeout 1h ./internal/founding -times 50
	$(GO) test -count=1 -timeout 1h ./internal/wal -seeds 500
	$(GO) test -count=1 -timeout 1h ./internal/state -rapid.checks 50000
	$(GO) test -count=1 -timeout 1h ./kv -rapid.checks 50000
	$(GO) test -count=1 $(KEEP) -timeout 2h ./internal/proof -proof.seeds 50 -proof.from $(FROM) -proof.rounds 200

# Format, vet, staticcheck, tidy go.mod, a build without cgo, and the house rules
# (who imports whom, everything exported documented: internal/rules).
lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -count=1 ./internal/rules

# Benchmarks; the figures are explained in docs/performance.md.
bench:
	$(GO) test -run '^$$' -bench . -benchtime 2s -timeout 60m ./peers ./kithtest/memnet . ./membership
	cd bench && $(GO) test -v -timeout 60m ./gossip -args -big
	cd bench && $(GO) run ./start

# Keys beside etcd and NATS JetStream, on this machine's disk; half an hour. ARGS=-quick
# takes a minute, ARGS=-extra adds what a million keys cost.
bench-kv:
	cd bench && $(GO) run ./kv $(ARGS)

# Locks and groups beside etcd's package concurrency and ZooKeeper (apt-get install
# zookeeper; without it that column is missing); half an hour. ARGS=-quick takes a minute.
bench-lock:
	cd bench && $(GO) run ./lock $(ARGS)

# Every fuzz target for FUZZTIME each.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

# The Go code of the formats on disk and between nodes, after a change of
# internal/state/statepb/state.proto.
generate:
	@command -v protoc >/dev/null 2>&1 || ./.ci/install protobuf-compiler || \
		{ echo "no protoc, and it could not be installed: see internal/state/statepb/doc.go"; exit 1; }
	$(GO) generate ./internal/state/statepb

# What the tests need beyond Go, git and make: a C compiler for the race detector.
tools:
	@command -v gcc >/dev/null 2>&1 || ./.ci/install gcc libc6-dev || \
		echo "no C compiler, and none could be installed: testing without the race detector"

clean:
	rm -rf bin
