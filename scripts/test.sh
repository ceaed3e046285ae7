#!/usr/bin/env bash
# make test: everything that must hold, in the order of how fast it fails. Installs what it needs.
#   scripts/test.sh          all steps
#   scripts/test.sh unit     one step
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

TEST_PACKAGES=(
    dpdk-dev iproute2 ethtool iputils-ping iputils-arping ndisc6 tcpdump tcpreplay strace
    espeak-ng sox ffmpeg python3 libsrtp2-dev
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    prometheus curl tshark
)
RELEASE="${CARGO_TARGET_DIR:-target}/release"
STEPS=(format clippy unit build e2e soak docs demo bench)
# Steps that run when they are named.
MORE=(fuzz miri)

format() { cargo fmt --all --check; }
clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
unit() {
    cargo test --workspace --lib --bins --locked || return
    cargo test --workspace --doc --locked
}
build() {
    cargo build --release --workspace --locked || return
    # What makes things go wrong on purpose is for test builds alone.
    if grep -q 'voxlane injected this panic' "$RELEASE/voxlane"; then die "the release binary can inject faults"; fi
}
# Tests of what goes wrong on purpose, which need a build that can do that.
FAULTY=(faults no_residue soak)
# Tests over real ports share hugepages and cores: one at a time. What they test is the binary that is shipped; only
# some need one that can go wrong, and afterwards the shipped one is put back, which compiles nothing.
e2e() {
    local file name plain=()
    for file in tests/*.rs; do
        name=$(basename "$file" .rs)
        [[ " ${FAULTY[*]} " == *" $name "* ]] || plain+=(--test "$name")
    done
    # Each step is called where bash no longer stops at a command that fails.
    cargo test --release --locked --no-fail-fast "${plain[@]}" -- --test-threads=1 || return
    cargo test --release --locked --features fault-injection --test faults --test no_residue -- --test-threads=1 ||
        return
    build
}
# Everything at once for two minutes; `make soak` takes its time.
soak() {
    local status=0
    cargo test --release --locked --features fault-injection --test soak -- --nocapture || status=$?
    build
    return "$status"
}
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }
# Every seed and former finding through its target, then each target for some seconds.
fuzz() {
    cargo test --release --manifest-path fuzz/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" --locked --test seeds || return
    scripts/fuzz.sh all 2
}
# The unsafe code that works on plain memory, under Miri; what calls DPDK or libipsec-mb cannot run there. Needs the nightly
# toolchain with the components miri and rust-src: rustup toolchain install nightly -c miri -c rust-src
miri() {
    MIRIFLAGS="-Zmiri-disable-isolation" cargo +nightly miri test --locked --lib -- \
        dpdk::slots dpdk::arena dpdk::spsc session::pool
}
demo() { "$RELEASE/voxlane" demo --seconds 3 --sessions 200; }
# That every measurement works; the figures of a shared machine mean nothing.
bench() { scripts/bench.sh --smoke; }

need_root test
need_packages "${BUILD_PACKAGES[@]}" "${BENCH_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
need_rust "$RUST_VERSION"
need_hugepages 1536

[ $# -gt 0 ] || set -- "${STEPS[@]}"
for step in "$@"; do
    [[ " ${STEPS[*]} ${MORE[*]} " == *" $step "* ]] || die "there is no step $step; the steps are: ${STEPS[*]} ${MORE[*]}"
    start=$SECONDS
    say "$step"
    "$step" || die "$step failed; reproduce with: sudo scripts/test.sh $step"
    say "$step passed in $((SECONDS - start)) s"
done
