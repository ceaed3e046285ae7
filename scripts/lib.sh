# Shared by the scripts beside it: messages, packages, Rust. Sourced, not run.

say() {
    if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "voxlane: $*" >&2; else printf '%s\n' "voxlane: $*" >&2; fi
}
die() { printf '%s\n' "voxlane: $*" >&2; exit 1; }

need_root() {
    [ "$(id -u)" -eq 0 ] || die "hugepages and network devices need root; run: sudo make ${1:-}"
}

# Installs those of the named Debian packages that are missing, and says which.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || die "installing failed; try by hand: apt-get install ${missing[*]}"
}

# Finds cargo, also when sudo has reset PATH and HOME, and checks its version.
need_rust() {
    local wanted="$1" home version
    if ! command -v cargo >/dev/null; then
        for home in "$HOME" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
            if [ -x "$home/.cargo/bin/cargo" ]; then
                export PATH="$home/.cargo/bin:$PATH" CARGO_HOME="$home/.cargo" RUSTUP_HOME="$home/.rustup"
                break
            fi
        done
    fi
    command -v cargo >/dev/null || die "Rust is missing; install Rust $wanted or newer with rustup, then run this again"
    version=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n1)" = "$wanted" ] \
        || die "Rust $version is too old; bring it up to $wanted or newer with: rustup update stable"
}

# Reserves at least the given number of 2 MiB hugepages *free*; never lowers what is there.
need_hugepages() {
    local wanted="$1" free total missing
    free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)
    total=$(cat /proc/sys/vm/nr_hugepages)
    if [ "$free" -lt "$wanted" ]; then
        missing=$((wanted - free))
        say "reserving hugepages: vm.nr_hugepages $total -> $((total + missing)) ($((missing * 2)) MiB more, until reboot)"
        sysctl -qw vm.nr_hugepages=$((total + missing))
        free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)
        [ "$free" -ge "$wanted" ] || die "only $((free * 2)) MiB of hugepages could be had, $((wanted * 2)) MiB are needed; free memory or reboot"
    fi
    if ! grep -q ' hugetlbfs ' /proc/mounts; then
        say "mounting hugetlbfs on /dev/hugepages"
        mkdir -p /dev/hugepages
        mount -t hugetlbfs hugetlbfs /dev/hugepages || die "cannot mount hugetlbfs; try: mount -t hugetlbfs hugetlbfs /dev/hugepages"
    fi
}

RUST_VERSION=1.89
BUILD_PACKAGES=(build-essential pkg-config libclang-dev dpdk libdpdk-dev libipsec-mb-dev procps)
# testpmd, whose drivers (net_pcap, net_memif) libdpdk-dev brings along, and what counts system calls.
BENCH_PACKAGES=(dpdk-dev strace)
