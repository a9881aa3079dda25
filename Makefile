# Everything a newcomer needs: make demo, make test. Everything a change needs:
# make check. All of them install what a fresh Debian machine lacks.

GO       ?= go
PACKAGES ?= ./...
FUZZTIME ?= 20s

.PHONY: build demo test check lint bench bench-kv fuzz tools clean

build:
	$(GO) build -o bin/kith ./cmd/kith

demo: build
	bin/kith demo

test: tools
	$(GO) test $$(command -v gcc >/dev/null 2>&1 && echo -race) -timeout 20m $(PACKAGES)

check: lint test

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

# Keys beside etcd and NATS JetStream, on this machine's disk; half an hour.
bench-kv:
	cd bench && $(GO) run ./kv

# Every fuzz target for FUZZTIME each.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

# What the tests need beyond Go, git and make: a C compiler for the race detector.
tools:
	@command -v gcc >/dev/null 2>&1 || ./.ci/install gcc libc6-dev || \
		echo "no C compiler, and none could be installed: testing without the race detector"

clean:
	rm -rf bin
