//! What an operator or an earlier run wrote: configuration, sessions file, index journal.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use voxlane::control::config::Config;
use voxlane::session::Journal;

/// Local addresses and ports are unique, ports exist, and there is room for what is configured.
fn check(config: &Config) {
    let mut locals = HashSet::new();
    for session in &config.sessions {
        for leg in [&session.a, &session.b] {
            assert!(leg.port < config.ports.len());
            assert!(locals.insert(leg.local), "two legs at {}", leg.local);
        }
    }
    assert!(!config.ports.is_empty() && !config.cores.workers.is_empty());
    assert!(config.sessions.len() <= config.limits.capacity as usize);
    assert!(config.memory.frame_buckets.is_sorted_by(|a, b| a.bytes < b.bytes));
}

/// A configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What a file names is read: none of the machine's devices, please.
    if text.contains("file") {
        return;
    }
    match Config::parse("fuzz.toml", text, Path::new("/nonexistent")) {
        Ok(config) => {
            check(&config);
            assert_eq!(Config::parse("fuzz.toml", text, Path::new("/nonexistent")).ok(), Some(config));
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// What the sessions file belongs to. `scripts/fuzz-seeds.sh` makes traffic with the same one.
const AROUND: &str = include_str!("../voxlane.toml");

/// A sessions file in JSON Lines.
pub fn sessions(data: &[u8]) {
    let directory = directory("sessions");
    let path = directory.join("voxlane.toml");
    if !path.exists() {
        fs::write(&path, AROUND).expect("a memory file system");
    }
    fs::write(directory.join("sessions.jsonl"), data).expect("a memory file system");
    match Config::load(&path) {
        Ok(config) => check(&config),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// The index journal: an image of it in memory or on disk (the first byte chooses). Whatever it holds, opening it ends
/// in an error or in a journal that never forgets: what a key may have sealed is refused after each further restart.
pub fn journal(data: &[u8]) {
    let Some((&choice, image)) = data.split_first() else { return };
    let directory = directory("journal");
    let (memory, disk) = (directory.join("memory"), directory.join("disk"));
    for part in [&memory, &disk] {
        let _ = fs::remove_dir_all(part);
        fs::create_dir_all(part).expect("a memory file system");
    }
    let place = if choice & 1 == 0 { &memory } else { &disk };
    fs::write(place.join("fuzz.indices"), image).expect("a memory file system");
    let open = || Journal::open(&memory, Some(&disk), "fuzz", 8);
    // The key of the seeds.
    let floor = |journal: &mut Journal| {
        let slots = journal.slots([1; 16]);
        slots.ok().map(|[(mut slot, resumed), _]| {
            let before = resumed.map_or(0, |resumed| resumed.floor);
            assert!(slot.floor() >= before);
            if choice & 2 != 0 && before < 1 << 40 {
                slot.cover(7, before + 1);
                slot.settle(Some(before + 1));
            }
            before
        })
    };
    let Ok(mut first) = open() else { return };
    let once = floor(&mut first);
    if choice & 4 != 0 {
        first.close().expect("the directory is ours");
    } else {
        drop(first);
    }
    let mut second = open().expect("what a journal wrote, a journal reads");
    let twice = floor(&mut second);
    if let (Some(once), Some(twice)) = (once, twice) {
        assert!(twice >= once, "an index that may have been sealed is free again: {once}, then {twice}");
    }
}

/// One of this process's own, in memory.
fn directory(what: &str) -> PathBuf {
    let directory = PathBuf::from(format!("/dev/shm/voxlane-fuzz-{what}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a memory file system at /dev/shm");
    directory
}
