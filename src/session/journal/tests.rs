//! The journal over restarts, crashes, kills, reboots and damage.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::image::Image;
use super::*;

mod copy;
mod damage;
mod model;

const BOOT: [u8; 16] = [1; 16];
const NEXT_BOOT: [u8; 16] = [2; 16];
const SSRC: u32 = 0xcafe_babe;

/// A runtime directory in memory and a state directory, both gone at the end.
struct Machine {
    runtime: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        // For the copy a disk would do as well, but syncing to it takes a hundred times as long.
        Self::with_state(memory_directory())
    }

    fn with_state(state: tempfile::TempDir) -> Self {
        Machine { runtime: memory_directory(), state }
    }

    fn runtime_dir(&self) -> PathBuf {
        self.runtime.path().join("voxlane")
    }

    fn state_dir(&self) -> PathBuf {
        self.state.path().join("lib").join("voxlane")
    }

    fn mapped(&self) -> PathBuf {
        self.runtime_dir().join("gw.indices")
    }

    fn copy(&self) -> PathBuf {
        self.state_dir().join("gw.indices")
    }

    fn try_open(&self, capacity: usize, boot: [u8; 16]) -> Result<Journal, JournalError> {
        Journal::open_in_boot(&self.runtime_dir(), Some(&self.state_dir()), "gw", capacity, boot)
    }

    fn open(&self, capacity: usize) -> Journal {
        self.try_open(capacity, BOOT).unwrap()
    }

    /// As after a power cut: what was in memory is gone.
    fn reboot(&self, capacity: usize) -> Journal {
        std::fs::remove_dir_all(self.runtime_dir()).unwrap();
        self.try_open(capacity, NEXT_BOOT).unwrap()
    }
}

fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("/dev/shm is writable")
}

fn key(number: u32) -> [u8; 16] {
    let mut fingerprint = [0x5a; 16];
    fingerprint[..4].copy_from_slice(&number.to_be_bytes());
    fingerprint
}

impl Journal {
    /// The record of one kind; the other's stream sealed nothing.
    fn slot(&mut self, fingerprint: [u8; 16], kind: Kind) -> Result<Slot, JournalError> {
        let [mut rtp, mut rtcp] = self.slots(fingerprint)?;
        let other = if kind == Kind::Srtp { &mut rtcp } else { &mut rtp };
        other.0.settle(None);
        Ok(if kind == Kind::Srtp { rtp } else { rtcp })
    }
}

/// Where `number` resumes for `kind`; the slot is dropped.
fn floor(journal: &mut Journal, number: u32, kind: Kind) -> Option<u64> {
    let (_, resumed) = journal.slot(key(number), kind).unwrap();
    resumed.map(|resumed| resumed.floor)
}

#[test]
fn a_new_key_starts_at_the_beginning() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    assert_eq!(journal.slot(key(1), Kind::Srtp).unwrap().1, None);
    // A slot that covered nothing leaves nothing, settled or not.
    let (mut slot, _) = journal.slot(key(2), Kind::Srtp).unwrap();
    slot.settle(None);
    journal.persist().unwrap();
    assert_eq!(std::fs::metadata(machine.copy()).unwrap().len(), HEADER_LEN as u64);
    drop((journal, slot));
    let mut journal = machine.open(4);
    assert_eq!(floor(&mut journal, 1, Kind::Srtp), None);
    assert_eq!(floor(&mut journal, 2, Kind::Srtp), None);
}

/// Dropping everything unsettled is a crash: the mapping is all that is left.
#[test]
fn a_crash_skips_at_most_a_block() {
    for highest in [0_u64, 1, 63, 64, 65, 127, 0xffff, 0x1_0000, (1 << 48) - 65, (1 << 48) - 1] {
        let machine = Machine::new();
        let mut journal = machine.open(4);
        let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
        for index in highest.saturating_sub(200)..=highest {
            slot.cover(SSRC, index);
        }
        drop((journal, slot));
        let (_, resumed) = machine.open(4).slot(key(1), Kind::Srtp).unwrap();
        let resumed = resumed.unwrap();
        assert_eq!(resumed.ssrc, SSRC);
        assert!((highest + 1..=highest + 64).contains(&resumed.floor), "{highest}: {resumed:?}");
        assert!(resumed.floor <= 1 << 48);
    }
}

/// RTCP is rare: a block of it would be minutes.
#[test]
fn a_crash_skips_no_srtcp_index() {
    for highest in [0, 1, 1000, (1 << 31) - 1] {
        let machine = Machine::new();
        let mut journal = machine.open(4);
        let (mut slot, _) = journal.slot(key(1), Kind::Srtcp).unwrap();
        slot.cover(SSRC, highest);
        drop((journal, slot));
        assert_eq!(floor(&mut machine.open(4), 1, Kind::Srtcp), Some(highest + 1));
    }
}

#[test]
fn a_clean_stop_is_exact() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 70_000);
    slot.settle(Some(70_000));
    journal.close().unwrap();
    drop(slot);

    // Nothing sealed in this run, though something was covered that the cipher refused: as before.
    let mut journal = machine.open(4);
    let (mut slot, resumed) = journal.slot(key(1), Kind::Srtp).unwrap();
    assert_eq!(resumed, Some(Resumed { ssrc: SSRC, floor: 70_001 }));
    slot.cover(SSRC, 70_300);
    slot.settle(None);
    journal.close().unwrap();
    drop(slot);

    let mut journal = machine.open(4);
    let (mut slot, resumed) = journal.slot(key(1), Kind::Srtp).unwrap();
    assert_eq!(resumed.unwrap().floor, 70_001);
    // Whatever the caller says, a floor never goes back.
    slot.settle(Some(5));
    drop((slot, journal));
    assert_eq!(floor(&mut machine.open(4), 1, Kind::Srtp), Some(70_001));
}

/// A lower index is covered already, and must not take the reservation back.
#[test]
fn reordered_packets_change_nothing() {
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 1000);
    let before = std::fs::read(machine.mapped()).unwrap();
    for index in (0..1064).rev() {
        slot.cover(0xdead_beef, index);
    }
    assert_eq!(std::fs::read(machine.mapped()).unwrap(), before);
    slot.cover(SSRC, 1064);
    assert_ne!(std::fs::read(machine.mapped()).unwrap(), before);
}

/// Settling is not the end of the slot's promise.
#[test]
fn a_settled_slot_still_covers() {
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 10);
    slot.settle(Some(10));
    slot.cover(SSRC, 11);
    let image = Image::parse(&std::fs::read(machine.mapped()).unwrap()).unwrap();
    assert!(image.records[0].unsettled);
    drop((journal, slot));
    assert_eq!(floor(&mut machine.open(1), 1, Kind::Srtp), Some(75));
}

#[test]
fn kinds_and_keys_are_apart() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    for (number, indices) in [(1, [Some(100), Some(200)]), (2, [Some(300), None])] {
        for ((mut slot, _), index) in journal.slots(key(number)).unwrap().into_iter().zip(indices) {
            index.into_iter().for_each(|index| slot.cover(SSRC + number, index));
            slot.settle(index);
        }
    }
    drop(journal);
    let mut journal = machine.open(4);
    let mut floors = |number| {
        let slots = journal.slots(key(number)).unwrap();
        slots.map(|(_, resumed)| resumed.map(|resumed| resumed.floor))
    };
    assert_eq!((floors(1), floors(2)), ([Some(101), Some(201)], [Some(301), None]));
}

#[test]
fn one_key_has_one_stream() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    let slot = journal.slot(key(7), Kind::Srtp).unwrap();
    let error = journal.slot(key(7), Kind::Srtp).unwrap_err();
    assert_eq!(
        error.to_string(),
        "two streams seal with the key of fingerprint 000000075a5a5a5a5a5a5a5a5a5a5a5a, which would repeat \
         nonces; give each leg its own key"
    );
    drop(slot);
}

#[test]
fn a_hundred_thousand_slots() {
    const SLOTS: u32 = 100_000;
    let machine = Machine::new();
    let mut journal = machine.open(SLOTS as usize);
    let mut slots: Vec<_> = (0..SLOTS).map(|n| journal.slot(key(n), Kind::Srtp).unwrap().0).collect();
    for (number, slot) in slots.iter_mut().enumerate() {
        slot.cover(number as u32, number as u64 * 3);
    }
    assert!(matches!(journal.slot(key(SLOTS), Kind::Srtp), Err(JournalError::Full { capacity: 100_000 })));
    journal.persist().unwrap();
    drop((journal, slots));
    let mut journal = machine.open(SLOTS as usize);
    for number in 0..SLOTS {
        let (_, resumed) = journal.slot(key(number), Kind::Srtp).unwrap();
        assert_eq!(resumed, Some(Resumed { ssrc: number, floor: u64::from(number) * 3 + 64 }));
    }
}

/// More keys than before: all of the old ones stay.
#[test]
fn capacity_grows_and_never_shrinks_below_what_is_kept() {
    let machine = Machine::new();
    let mut journal = machine.open(2);
    for number in [1, 2] {
        journal.slot(key(number), Kind::Srtp).unwrap().0.cover(SSRC, 9);
    }
    drop(journal);
    let mut journal = machine.open(5);
    for number in [3, 4, 5] {
        journal.slot(key(number), Kind::Srtp).unwrap().0.cover(SSRC, 9);
    }
    drop(journal);
    // More than once: what one start writes, the next must be able to read.
    for _ in 0..3 {
        let mut journal = machine.open(1);
        for number in 1..=5 {
            assert_eq!(floor(&mut journal, number, Kind::Srtp), Some(73), "{number}");
        }
    }
}

/// Only when there is no room, the key of the longest ago run first, never one of this run.
#[test]
fn eviction() {
    let machine = Machine::new();
    // Without a copy, in which an evicted key lives on until the next one is made.
    let open = || Journal::open(&machine.runtime_dir(), None, "gw", 3).unwrap();
    let use_keys = |numbers: &[u32]| {
        let mut journal = open();
        for &number in numbers {
            journal.slot(key(number), Kind::Srtp).unwrap().0.cover(SSRC, 9);
        }
        drop(journal);
    };
    let kept = || {
        let image = Image::parse(&std::fs::read(machine.mapped()).unwrap()).unwrap();
        let first = |record: &Record| u32::from_be_bytes(*record.fingerprint.first_chunk().unwrap());
        image.records.iter().map(first).collect::<BTreeSet<_>>()
    };
    use_keys(&[1, 2, 3]);
    use_keys(&[1, 3]);
    use_keys(&[1]);
    assert_eq!(kept(), BTreeSet::from([1, 2, 3]));
    use_keys(&[4]);
    assert_eq!(kept(), BTreeSet::from([1, 3, 4]));
    // 3 is the oldest, but taken before room is needed.
    use_keys(&[3, 5]);
    assert_eq!(kept(), BTreeSet::from([3, 4, 5]));
    // 3 and 5 are equally old: room for two is made out of 4 and one of them, and a key taken after the list of
    // candidates was made is safe from it.
    let mut journal = open();
    let _held: Vec<_> = [6, 3, 5].map(|number| journal.slot(key(number), Kind::Srtp).unwrap()).into();
    assert_eq!(kept(), BTreeSet::from([3, 5, 6]));
    assert!(matches!(journal.slot(key(7), Kind::Srtp), Err(JournalError::Full { capacity: 3 })));
    assert_eq!(kept(), BTreeSet::from([3, 5, 6]));
}

/// A key comes back once both of its streams' records have, and goes on where they stopped.
#[test]
fn a_key_that_came_back_is_given_out_again_and_resumes() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    let [(mut rtp, _), (mut rtcp, _)] = journal.slots(key(1)).unwrap();
    rtp.cover(SSRC, 500);
    rtp.settle(Some(500));
    rtcp.cover(SSRC, 7);
    rtcp.settle(Some(7));
    assert!(matches!(journal.slots(key(1)), Err(JournalError::KeyTaken { .. })), "a stream has it");
    journal.release(&rtp);
    assert!(
        matches!(journal.slots(key(1)), Err(JournalError::KeyTaken { .. })),
        "its reports are still sealed"
    );
    journal.release(&rtp);
    assert!(matches!(journal.slots(key(1)), Err(JournalError::KeyTaken { .. })), "the same one twice");
    journal.release(&rtcp);
    let slots = journal.slots(key(1)).unwrap();
    let expected = [501, 8].map(|floor| Some(Resumed { ssrc: SSRC, floor }));
    assert_eq!(slots.each_ref().map(|(_, resumed)| *resumed), expected);
    assert_eq!(slots.each_ref().map(|(slot, _)| slot.floor()), [501, 8]);
    // Its stream sealed nothing more.
    for (mut slot, _) in slots {
        slot.settle(None);
        journal.release(&slot);
    }
    assert_eq!(journal.slots(key(1)).unwrap().map(|(_, resumed)| resumed), expected);
}

/// Of the keys of this run, those make room that came back, in that order, unless they were given out again since.
#[test]
fn keys_that_came_back_make_room_in_their_order() {
    let machine = Machine::new();
    let mut journal = machine.open(3);
    let take =
        |journal: &mut Journal, number| journal.slots(key(number)).map(|slots| slots.map(|(slot, _)| slot));
    let mut held: Vec<_> = [1, 2, 3].map(|number| take(&mut journal, number).unwrap()).into();
    let give_back = |journal: &mut Journal, slots: [JournalSlot; 2], at| {
        for mut slot in slots {
            slot.cover(SSRC, at);
            slot.settle(Some(at));
            journal.release(&slot);
        }
    };
    assert!(matches!(take(&mut journal, 4), Err(JournalError::Full { capacity: 3 })));
    give_back(&mut journal, held.remove(0), 10);
    give_back(&mut journal, held.remove(0), 20);
    // The first that came back is given out again, and so it is the second that makes room.
    let first = take(&mut journal, 1).unwrap();
    let fourth = take(&mut journal, 4).unwrap();
    assert!(matches!(take(&mut journal, 2), Err(JournalError::Full { capacity: 3 })), "all three are in use");
    give_back(&mut journal, first, 30);
    assert_eq!(journal.slots(key(2)).unwrap().map(|(_, resumed)| resumed), [None; 2], "forgotten");
    give_back(&mut journal, fourth, 40);
    // What another key left in the entry is not its successor's.
    assert_eq!(journal.slots(key(1)).unwrap().map(|(_, resumed)| resumed), [None; 2], "forgotten");
    assert!(matches!(take(&mut journal, 5), Err(JournalError::Full { capacity: 3 })));
}

/// A key that came back twice counts from the second time.
#[test]
fn the_key_that_is_missed_longest_makes_room() {
    let machine = Machine::new();
    let mut journal = machine.open(3);
    let use_key = |journal: &mut Journal, number| {
        for (mut slot, _) in journal.slots(key(number)).unwrap() {
            slot.cover(SSRC, 9);
            slot.settle(Some(9));
            journal.release(&slot);
        }
    };
    [1, 2, 3, 1, 4].into_iter().for_each(|number| use_key(&mut journal, number));
    let known = |journal: &mut Journal, number| journal.slots(key(number)).unwrap()[0].1.is_some();
    assert!([1, 3, 4].into_iter().all(|number| known(&mut journal, number)), "2 made room");
}

#[test]
fn files_are_private() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.runtime_dir()).unwrap();
    std::fs::remove_dir(machine.runtime_dir()).unwrap();
    let journal = machine.open(1);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(machine.runtime_dir()), 0o700);
    assert_eq!(mode(machine.state_dir()), 0o700);
    let lock = machine.runtime_dir().join("gw.indices.lock");
    for path in [machine.mapped(), machine.copy(), lock] {
        assert_eq!(mode(path.clone()), 0o600, "{}", path.display());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    drop(journal);
    // A file that was made readable for others becomes private again.
    let journal = machine.open(1);
    for path in [machine.mapped(), machine.copy(), machine.runtime_dir().join("gw.indices.lock")] {
        assert_eq!(mode(path.clone()), 0o600, "{}", path.display());
    }
    // Nothing else is left behind.
    assert_eq!(std::fs::read_dir(machine.runtime_dir()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(machine.state_dir()).unwrap().count(), 1);
    drop(journal);
}

#[test]
fn a_second_gateway_is_refused_until_the_last_slot_is_gone() {
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    let refused = || match machine.try_open(1, BOOT) {
        Err(JournalError::InUse(path)) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(), machine.runtime_dir().join("gw.indices.lock"));
    drop(journal);
    refused();
    drop(slot);
    machine.open(1);
}

#[test]
fn places_that_cannot_work_are_refused() {
    let machine = Machine::new();
    let runtime = machine.runtime_dir();
    for name in ["", ".", "..", "a/b", "/a", "a/", "a\0b"] {
        let error = Journal::open(&runtime, None, name, 1).unwrap_err();
        assert!(matches!(error, JournalError::Name(_)), "{name:?}: {error}");
    }
    let error = Journal::open(Path::new("/proc/self"), None, "gw", 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/proc/self is not on a memory file system, so packets would wait for its disk; use one on tmpfs, such as \
         /run or /dev/shm, or: mount -t tmpfs tmpfs /proc/self"
    );
    let error = Journal::open(&runtime, Some(&runtime), "gw", 1).unwrap_err();
    assert!(matches!(error, JournalError::SameDirectory(_)), "{error}");
    let error = Journal::open(Path::new("/dev/null/run"), None, "gw", 1).unwrap_err();
    assert!(error.to_string().starts_with("cannot create the directory /dev/null/run: "), "{error}");
    // Whoever can plant a link must not have the gateway write elsewhere.
    symlink(machine.state.path().join("victim"), machine.mapped()).unwrap();
    let error = Journal::open(&runtime, None, "gw", 1).unwrap_err();
    assert!(matches!(error, JournalError::File { operation: "read", .. }), "{error}");
}

/// A start that is interrupted leaves a temporary file, which the next one replaces whole.
#[test]
fn leftovers_of_an_interrupted_start_do_no_harm() {
    let machine = Machine::new();
    drop(machine.open(1));
    for path in [machine.mapped(), machine.copy()] {
        std::fs::write(path.with_extension("indices.new"), vec![0xff; 5000]).unwrap();
    }
    let mut journal = machine.open(1);
    journal.slot(key(1), Kind::Srtp).unwrap().0.cover(SSRC, 5);
    journal.persist().unwrap();
    drop(journal);
    assert_eq!(floor(&mut machine.open(1), 1, Kind::Srtp), Some(69));
}

/// Copies made while a worker stores are never ahead of their SSRC nor behind an older copy.
#[test]
fn copies_while_a_worker_stores() {
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    let worker = std::thread::spawn(move || {
        for index in 0..2_000_000 {
            slot.cover(SSRC, index);
        }
    });
    let mut last = 0;
    while !worker.is_finished() {
        if let Some(record) = journal.records.get(0) {
            let record = record.unwrap();
            assert!(record.reserved_until >= last);
            assert!(record.reserved_until == 0 || record.ssrc == SSRC);
            last = record.reserved_until;
        }
        std::thread::yield_now();
    }
    worker.join().unwrap();
    journal.persist().unwrap();
    let image = Image::parse(&std::fs::read(machine.copy()).unwrap()).unwrap();
    // 2,000,000 is a multiple of the block.
    assert_eq!(image.records[0].reserved_until, 2_000_000);
}

const CHILD_DIRECTORY: &str = "VOXLANE_TEST_JOURNAL_DIRECTORY";

/// The body of the process that [`a_killed_process_leaves_its_indices`] kills.
#[test]
#[ignore = "started by a_killed_process_leaves_its_indices"]
fn killed_child() {
    let directory = std::env::var_os(CHILD_DIRECTORY).expect("set by the parent");
    let mut journal = Journal::open(Path::new(&directory), None, "gw", 2).unwrap();
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    for index in 0..=12_345 {
        slot.cover(SSRC, index);
    }
    println!("\ncovered");
    // Until it is killed: the parent never writes.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// SIGKILL runs no destructor and flushes nothing; the lock must be free and the indices there at once.
#[test]
fn a_killed_process_leaves_its_indices() {
    let machine = Machine::new();
    let (_, module) = module_path!().split_once("::").expect("the module is in a crate");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::killed_child"), "--ignored", "--nocapture"])
        .env(CHILD_DIRECTORY, machine.runtime_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let covered = lines.any(|line| line.unwrap() == "covered");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(covered);
    let mut journal = Journal::open(&machine.runtime_dir(), None, "gw", 2).unwrap();
    let (_, resumed) = journal.slot(key(1), Kind::Srtp).unwrap();
    assert_eq!(resumed, Some(Resumed { ssrc: SSRC, floor: 12_345 / 64 * 64 + 64 }));
}

#[test]
fn this_boot_has_an_id() {
    assert_eq!(recover::boot_id().unwrap(), recover::boot_id().unwrap());
    assert_ne!(recover::boot_id().unwrap(), [0; 16]);
}
