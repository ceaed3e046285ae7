#!/usr/bin/env bash
# make demo: gateway and generator over memif, live figures, one verdict. Arguments go to `voxlane demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_root demo
scripts/build.sh
# 168 MiB for the gateway and 512 MiB for the generator, with room for a few thousand sessions.
need_hugepages 512
need_rust "$RUST_VERSION"
exec "${CARGO_TARGET_DIR:-target}/release/voxlane" demo "$@"
