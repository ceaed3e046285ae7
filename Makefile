# Two commands suffice: `make demo` runs the gateway, `make test` proves it; `make bench` measures it. As root (or sudo).

.PHONY: help build demo test bench bench-smoke fmt clean

help:
	@echo "make demo    build, then relay ten seconds of SRTP voice over shared memory (root)"
	@echo "             options: make demo ARGS='--seconds 30 --sessions 10000'"
	@echo "make test    every check, unit tests, end-to-end tests over real ports (root)"
	@echo "             one step: scripts/test.sh unit"
	@echo "make bench   measure the relay against the machine's limit, 15 minutes on a quiet machine (root)"
	@echo "             options: make bench ARGS='--only relay,ndr'; make bench-smoke for a look in seconds"
	@echo "make build   release binaries in target/release"
	@echo "make fmt     format the code"
	@echo "make clean   remove the build"

build:
	@scripts/build.sh

demo:
	@scripts/demo.sh $(ARGS)

test:
	@scripts/test.sh

bench:
	@scripts/bench.sh $(ARGS)

bench-smoke:
	@scripts/bench.sh --smoke

fmt:
	cargo fmt --all

clean:
	cargo clean
