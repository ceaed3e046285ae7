#!/usr/bin/env bash
# make test: everything that must hold, in the order of how fast it fails. Installs what it needs.
#   scripts/test.sh          all steps
#   scripts/test.sh unit     one step
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

TEST_PACKAGES=(
    dpdk-dev iproute2 ethtool iputils-ping iputils-arping ndisc6 tcpdump tcpreplay strace
    espeak-ng sox python3 libsrtp2-dev
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    prometheus curl
)
STEPS=(format clippy unit build e2e docs demo bench)

format() { cargo fmt --all --check; }
clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
unit() {
    cargo test --workspace --lib --bins --locked
    cargo test --workspace --doc --locked
}
build() { cargo build --release --workspace --locked; }
# Tests over real ports share hugepages and cores: one at a time.
e2e() { cargo test --release --locked --test '*' -- --test-threads=1; }
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }
demo() { "${CARGO_TARGET_DIR:-target}/release/voxlane" demo --seconds 3 --sessions 200; }
# That every measurement works; the figures of a shared machine mean nothing.
bench() { scripts/bench.sh --smoke; }

need_root test
need_packages "${BUILD_PACKAGES[@]}" "${BENCH_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
need_rust "$RUST_VERSION"
need_hugepages 1536

[ $# -gt 0 ] || set -- "${STEPS[@]}"
for step in "$@"; do
    [[ " ${STEPS[*]} " == *" $step "* ]] || die "there is no step $step; the steps are: ${STEPS[*]}"
    start=$SECONDS
    say "$step"
    "$step" || die "$step failed; reproduce with: sudo scripts/test.sh $step"
    say "$step passed in $((SECONDS - start)) s"
done
