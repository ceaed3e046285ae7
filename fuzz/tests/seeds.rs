//! Every seed, and every input that once was a finding, through its target; and all of them cut off everywhere. Needs no
//! fuzzer: `cargo test --manifest-path fuzz/Cargo.toml`.

use std::fs;
use std::path::Path;

use voxlane_fuzz::TARGETS;

#[test]
fn no_seed_breaks_an_invariant() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let seeds = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for seed in seeds.map(|seed| seed.expect("a folder can be listed").path()) {
            let bytes = fs::read(&seed).expect("a seed can be read");
            count += 1;
            target(&bytes);
            // Files are too slow for more.
            let step =
                if ["sessions", "journal", "config"].contains(name) { bytes.len() / 16 + 1 } else { 1 };
            for len in (0..bytes.len().min(2_000)).step_by(step) {
                target(&bytes[..len]);
            }
        }
        assert!(count > 0, "{} is empty", folder.display());
    }
}

/// Each target has its binary, and each binary its target.
#[test]
fn targets_and_binaries_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut binaries: Vec<String> = fs::read_dir(folder)
        .expect("a folder can be listed")
        .map(|file| {
            file.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned()
        })
        .collect();
    let mut targets: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    binaries.sort_unstable();
    targets.sort_unstable();
    assert_eq!(binaries, targets);
}
