//! Compiles the shim and generates its bindings. Needs the library's header, not the library.

use std::path::PathBuf;
use std::process::exit;

fn main() {
    println!("cargo:rerun-if-changed=shim/shim.c");
    println!("cargo:rerun-if-changed=shim/shim.h");
    println!("cargo:rerun-if-changed=build.rs");

    let compiled = cc::Build::new()
        .file("shim/shim.c")
        .warnings(true)
        .extra_warnings(true)
        .try_compile("voxlane_ipsec_mb_shim");
    if let Err(error) = compiled {
        let text = "the header of intel-ipsec-mb 1.3 or newer was not found; install it with: apt-get install libipsec-mb-dev";
        println!("cargo:warning={text}");
        eprintln!("{text} ({error})");
        exit(1)
    }

    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header("shim/shim.h")
        .allowlist_function("vx_imb_.*")
        .allowlist_type("vx_imb_.*")
        .allowlist_var("VX_IMB_.*")
        .prepend_enum_name(false)
        .generate_comments(false)
        .layout_tests(true)
        .generate()
        .expect("bindgen reads shim.h")
        .write_to_file(out)
        .expect("OUT_DIR is writable");
}
