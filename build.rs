//! Stamps the build: which DPDK it was built against (as `dpdk-sys` found it) and which commit it is.
//!
//! Also exports the binary's own `munmap`, which lets a memif peer leave while its rings are polled: see
//! `src/dpdk/unmap_guard.rs`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=.git/HEAD");
    // Set by dpdk-sys (`links = "dpdk"`).
    let dpdk = std::env::var("DEP_DPDK_VERSION").expect("dpdk-sys exports the version that it found");
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = match commit {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        // A source archive has no repository.
        _ => "unknown".to_owned(),
    };
    println!("cargo:rustc-env=VOXLANE_DPDK_VERSION={dpdk}");
    println!("cargo:rustc-env=VOXLANE_COMMIT={commit}");
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=munmap");
}
