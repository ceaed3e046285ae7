//! Finds the installed DPDK with pkg-config, compiles the shim with DPDK's own flags and generates the bindings.
//!
//! Exports to dependent build scripts: `DEP_DPDK_VERSION` (such as `22.11.11`), `DEP_DPDK_MAJOR`, `DEP_DPDK_MINOR`.

use std::path::PathBuf;
use std::process::exit;

const MINIMUM: &str = "22.11";
const PACKAGES: &str = "apt-get install dpdk libdpdk-dev pkg-config";

/// Functions that are called directly: exported by DPDK's shared libraries, so part of its stable ABI.
const FUNCTIONS: &[&str] = &[
    "vx_.*",
    "rte_eal_init",
    "rte_eal_cleanup",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_get_main_lcore",
    "rte_get_tsc_hz",
    "rte_strerror",
    "rte_version",
    "rte_log_set_global_level",
    "rte_log_set_level_pattern",
    "rte_openlog_stream",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_pktmbuf_pool_create",
    "rte_pktmbuf_free_bulk",
    "rte_zmalloc_socket",
    "rte_free",
    "rte_mempool_free",
    "rte_mempool_avail_count",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_promiscuous_enable",
    "rte_eth_allmulticast_enable",
];

fn main() {
    println!("cargo:rerun-if-changed=shim/shim.c");
    println!("cargo:rerun-if-changed=shim/shim.h");
    println!("cargo:rerun-if-changed=build.rs");

    let dpdk = pkg_config::Config::new()
        .atleast_version(MINIMUM)
        .probe("libdpdk")
        .unwrap_or_else(|error| refuse(&error));
    let mut version = dpdk.version.split(['.', '-', '~']);
    let major = version.next().unwrap_or_default();
    let minor = version.next().unwrap_or_default();
    println!("cargo:version={}", dpdk.version);
    println!("cargo:major={major}");
    println!("cargo:minor={minor}");

    // Flags come from pkg-config alone (`-include rte_config.h -march=…` decides the layout of inlined
    // structures); the pkg-config crate keeps only -I and -D, so the rest is asked for by name.
    let flags = compile_flags();
    let mut shim = cc::Build::new();
    shim.file("shim/shim.c").warnings(true).extra_warnings(true).flag("-Wno-deprecated-declarations");
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("voxlane_dpdk_shim");
    // The shim refers to DPDK: its libraries must come after it on the linker's command line.
    for library in &dpdk.libs {
        println!("cargo:rustc-link-lib=dylib={library}");
    }

    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(&flags)
        .allowlist_function(FUNCTIONS.join("|"))
        .allowlist_type("vx_.*")
        .allowlist_var("VX_.*")
        // Their layout is read through the shim's offsets only: bindgen cannot express it (E0587/E0588),
        // and it moved in DPDK 24.11.
        .blocklist_type("rte_mbuf|rte_mempool|rte_device|_IO_.*|FILE")
        .raw_line("#[repr(C)] pub struct rte_mbuf { _opaque: [u8; 0] }")
        .raw_line("#[repr(C)] pub struct rte_mempool { _opaque: [u8; 0] }")
        .raw_line("#[repr(C)] pub struct rte_device { _opaque: [u8; 0] }")
        .raw_line("pub type FILE = ::std::os::raw::c_void;")
        .prepend_enum_name(false)
        // DPDK's comments are Doxygen; rustdoc would take their indentation for code.
        .generate_comments(false)
        .layout_tests(true)
        .generate()
        .expect("bindgen reads shim.h with the flags that compiled shim.c")
        .write_to_file(out)
        .expect("OUT_DIR is writable");
}

fn compile_flags() -> Vec<String> {
    let output =
        std::process::Command::new(std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into()))
            .args(["--cflags", "libdpdk"])
            .output()
            .unwrap_or_else(|error| refuse(&error));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn refuse(reason: &dyn std::fmt::Display) -> ! {
    let reason = reason.to_string();
    let reason = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    println!(
        "cargo:warning=DPDK {MINIMUM} or newer with its headers was not found; install it with: {PACKAGES} ({reason})"
    );
    eprintln!(
        "DPDK {MINIMUM} or newer with its headers was not found; install it with: {PACKAGES} ({reason})"
    );
    exit(1)
}
