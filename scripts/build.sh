#!/usr/bin/env bash
# Installs what a build needs and builds voxlane and voxload.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if [ "$(id -u)" -eq 0 ]; then
    need_packages "${BUILD_PACKAGES[@]}"
fi
need_rust "$RUST_VERSION"
say "building (a first build takes a few minutes)"
cargo build --release --workspace --locked
