#!/usr/bin/env bash
# make bench: measures the gateway against the limit of the machine; arguments go to `voxbench run`.
#   scripts/bench.sh            everything: results in bench/results, the README's table made anew
#   scripts/bench.sh --smoke    everything once over in seconds; results in target/bench-smoke
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

target="${CARGO_TARGET_DIR:-target}"
# 6 GiB for a gateway with a million sessions, 4 GiB for its keys alone, 1.5 GiB for generator and testpmd.
wanted_mib=11776
arguments=("$@")
for argument in "$@"; do
    if [ "$argument" = --smoke ]; then
        wanted_mib=2560
        arguments+=(--output "$target/bench-smoke")
    fi
done

# What there is of so many MiB of hugepages, leaving 4 GiB and a tenth of the memory to everything else: voxbench
# leaves out, and says so, what does not fit.
reserve_what_there_is() {
    local free_mib available_mib most_mib
    free_mib=$(($(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages) * 2))
    available_mib=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    most_mib=$((free_mib + available_mib - available_mib / 10 - 4096))
    if [ "$most_mib" -lt "$wanted_mib" ]; then
        say "there is not enough memory for all parts: $most_mib of $wanted_mib MiB of hugepages can be had"
        wanted_mib=$((most_mib > 2560 ? most_mib : 2560))
    fi
    need_hugepages $((wanted_mib / 2))
}

need_root bench
need_packages "${BUILD_PACKAGES[@]}" "${BENCH_PACKAGES[@]}"
scripts/build.sh
need_rust "$RUST_VERSION"
reserve_what_there_is
before=$(cat /proc/sys/vm/nr_hugepages)
"$target/release/voxbench" run "${arguments[@]}"
say "vm.nr_hugepages is $before; give the memory back with: sysctl -w vm.nr_hugepages=0"
# The README shows whole runs with everything as it is by default.
[ $# -gt 0 ] || "$target/release/voxbench" report
