# Two commands suffice: `make demo` runs the gateway, `make test` proves it; `make bench` measures it. As root (or sudo).

.PHONY: help build demo test soak bench bench-smoke fuzz fmt clean

help:
	@echo "make demo    build, then relay ten seconds of SRTP voice over shared memory (root)"
	@echo "             options: make demo ARGS='--seconds 30 --sessions 10000'"
	@echo "make test    every check, unit tests, end-to-end tests over real ports (root)"
	@echo "             one step: scripts/test.sh unit"
	@echo "make soak    calls, churn, taps, bad packets and faults at once for 20 minutes (root)"
	@echo "             options: VOXLANE_SOAK_MINUTES=60 make soak"
	@echo "make bench   measure the relay against the machine's limit, 15 minutes on a quiet machine (root)"
	@echo "             options: make bench ARGS='--only relay,ndr'; make bench-smoke for a look in seconds"
	@echo "make fuzz    every fuzz target for a minute"
	@echo "             options: make fuzz ARGS='rtp 600'"
	@echo "make build   release binaries in target/release"
	@echo "make fmt     format the code"
	@echo "make clean   remove the build"

build:
	@scripts/build.sh

demo:
	@scripts/demo.sh $(ARGS)

test:
	@scripts/test.sh

soak:
	@scripts/soak.sh

bench:
	@scripts/bench.sh $(ARGS)

bench-smoke:
	@scripts/bench.sh --smoke

fuzz:
	@scripts/fuzz.sh $(ARGS)

fmt:
	cargo fmt --all

clean:
	cargo clean
