#!/usr/bin/env bash
# make fuzz: every fuzz target for some seconds; installs cargo-fuzz if it is missing.
#   scripts/fuzz.sh                    all targets, 60 s each
#   scripts/fuzz.sh all 600            all targets, ten minutes each
#   scripts/fuzz.sh rtp 600            one target
# What is found is in fuzz/artifacts/TARGET: mend it, and put the input into fuzz/seeds/TARGET, where an ordinary test runs
# it from then on. What raises coverage is kept in fuzz/corpus, on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

wanted="${1:-all}"
seconds="${2:-60}"
need_rust "$RUST_VERSION"
command -v cargo-fuzz >/dev/null || { say "installing cargo-fuzz"; cargo install --quiet --locked cargo-fuzz; }

# libFuzzer's instrumentation is a nightly option that stable compilers take this way. No sanitizer: what is fuzzed is
# free of unsafe code, and its overflow checks and debug assertions are on.
export RUSTC_BOOTSTRAP=1
mapfile -t targets < <(cargo fuzz list)
if [ "$wanted" != all ]; then
    [[ " ${targets[*]} " == *" $wanted "* ]] || die "there is no fuzz target $wanted; the targets are: ${targets[*]}"
    targets=("$wanted")
fi
say "building the fuzz targets"
if [ "$wanted" = all ]; then cargo fuzz build --sanitizer none; else cargo fuzz build --sanitizer none "$wanted"; fi
binaries="fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release"
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    # Names of both kinds of folders come last; new inputs go into the first.
    if ! "$binaries/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        die "$target found something; the input is in fuzz/artifacts/$target; run it again with: $binaries/$target FILE"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    say "$target: $runs inputs in $seconds s, $coverage edges, nothing found"
    rm -f "$log"
done
rm -rf /dev/shm/voxlane-fuzz-*
