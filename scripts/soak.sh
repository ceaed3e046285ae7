#!/usr/bin/env bash
# make soak: calls, churn, taps, bad packets and faults at once for 20 minutes, in a test build that can go wrong on purpose.
#   VOXLANE_SOAK_MINUTES=60 scripts/soak.sh   for as long
#   VOXLANE_SOAK_QUIET=1 scripts/soak.sh      where the worker's core is its own: a poll gap beyond the benchmark's fails
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_root soak
need_packages "${BUILD_PACKAGES[@]}"
scripts/build.sh
need_rust "$RUST_VERSION"
need_hugepages 1536
export VOXLANE_SOAK_MINUTES="${VOXLANE_SOAK_MINUTES:-20}"
say "soaking for $VOXLANE_SOAK_MINUTES minutes"
status=0
cargo test --release --locked --features fault-injection --test soak -- --nocapture || status=$?
# The binary that is shipped is put back, which compiles nothing.
scripts/build.sh
exit "$status"
