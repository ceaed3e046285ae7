//! The copy on disk: reboots, power cuts, and which of two files is believed.

use std::os::unix::fs::MetadataExt;

use super::super::image::Image;
use super::super::*;
use super::{BOOT, Machine, NEXT_BOOT, SSRC, floor, key};

/// A reboot after a clean stop: the copy is exact.
#[test]
fn reboot_after_a_clean_stop() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 500);
    slot.settle(Some(500));
    journal.close().unwrap();
    drop(slot);
    let mut journal = machine.reboot(4);
    assert_eq!(journal.slot(key(1), Kind::Srtp).unwrap().1, Some(Resumed { ssrc: SSRC, floor: 501 }));
}

/// A power cut: what was sealed after the last copy is unknown, so a margin is added, per kind.
#[test]
fn reboot_after_a_power_cut() {
    let machine = Machine::new();
    let mut journal = machine.open(4);
    let [(mut rtp, _), (mut rtcp, _)] = journal.slots(key(1)).unwrap();
    let (mut last, _) = journal.slot(key(2), Kind::Srtp).unwrap();
    rtp.cover(SSRC, 500);
    rtcp.cover(SSRC, 500);
    last.cover(SSRC, (1 << 48) - 100);
    journal.persist().unwrap();
    rtp.cover(SSRC, 564 + 4000);
    drop((journal, rtp, rtcp, last));
    let mut journal = machine.reboot(4);
    let floors = journal.slots(key(1)).unwrap().map(|(_, resumed)| resumed.unwrap().floor);
    assert_eq!(floors, [564 + 4096, 501 + 64]);
    assert_eq!(floor(&mut journal, 2, Kind::Srtp), Some(1 << 48));
    drop(journal);
    // A crash in the same boot then adds nothing: the mapped file is exact.
    let mut journal = machine.try_open(4, NEXT_BOOT).unwrap();
    assert_eq!(floor(&mut journal, 1, Kind::Srtp), Some(564 + 4096));
}

/// The copy of a clean stop must lose its promise as soon as a run starts, not with its first copy.
#[test]
fn power_cut_right_after_a_start() {
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 500);
    slot.settle(Some(500));
    journal.close().unwrap();
    drop(slot);

    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 3000);
    drop((journal, slot));
    assert_eq!(floor(&mut machine.reboot(1), 1, Kind::Srtp), Some(501 + 4096));
}

/// Closing is clean only if every slot was settled.
#[test]
fn an_unsettled_slot_makes_the_last_copy_unclean() {
    let machine = Machine::new();
    let mut journal = machine.open(2);
    let (mut one, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    let (mut two, _) = journal.slot(key(2), Kind::Srtp).unwrap();
    one.cover(SSRC, 10);
    two.cover(SSRC, 10);
    one.settle(Some(10));
    journal.close().unwrap();
    drop((one, two));
    assert_eq!(floor(&mut machine.reboot(2), 1, Kind::Srtp), Some(11 + 4096));
}

/// A memory file system that was carried over a reboot, and no copy: as after a power cut.
#[test]
fn a_mapped_file_of_another_boot_is_not_exact() {
    let machine = Machine::new();
    let open = |boot| Journal::open_in_boot(&machine.runtime_dir(), None, "gw", 2, boot).unwrap();
    let mut journal = open(BOOT);
    journal.slot(key(1), Kind::Srtp).unwrap().0.cover(SSRC, 500);
    drop(journal);
    assert_eq!(floor(&mut open(NEXT_BOOT), 1, Kind::Srtp), Some(564 + 4096));

    // With a clean copy of the same run, the copy is what counts.
    let machine = Machine::new();
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 500);
    slot.settle(Some(500));
    journal.close().unwrap();
    drop(slot);
    assert_eq!(floor(&mut machine.try_open(1, NEXT_BOOT).unwrap(), 1, Kind::Srtp), Some(501));
}

/// A run with another runtime directory went further than the mapped file here knows.
#[test]
fn the_newer_of_two_files_wins_and_neither_is_forgotten() {
    let (machine, elsewhere) = (Machine::new(), Machine::new());
    let seal = |mut journal: Journal, number, highest| {
        let (mut slot, _) = journal.slot(key(number), Kind::Srtp).unwrap();
        slot.cover(SSRC, highest);
        slot.settle(Some(highest));
        journal.close().unwrap();
    };
    seal(machine.open(4), 1, 100);
    let there = Journal::open_in_boot(&elsewhere.runtime_dir(), Some(&machine.state_dir()), "gw", 4, BOOT);
    seal(there.unwrap(), 1, 9000);
    // And a run without the state directory.
    let alone = Journal::open_in_boot(&machine.runtime_dir(), None, "gw", 4, BOOT);
    seal(alone.unwrap(), 2, 700);
    let mut journal = machine.open(4);
    assert_eq!(floor(&mut journal, 1, Kind::Srtp), Some(9001));
    assert_eq!(floor(&mut journal, 2, Kind::Srtp), Some(701));
    drop(journal);

    // Elsewhere again, after a run here that left no clean copy, and then here after the same there: each time
    // nothing but the other's last copy is known.
    let there = Journal::open_in_boot(&elsewhere.runtime_dir(), Some(&machine.state_dir()), "gw", 4, BOOT);
    drop(there.unwrap());
    assert_eq!(floor(&mut machine.open(4), 1, Kind::Srtp), Some(9001 + 2 * 4096));
}

/// The copy is on disk when `persist` returns, and an idle gateway does not wear the disk.
#[test]
fn persist_writes_what_changed_and_says_when_it_cannot() {
    let machine = Machine::with_state(tempfile::tempdir().expect("the temporary directory is writable"));
    let mut journal = machine.open(1);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    let inode = || std::fs::metadata(machine.copy()).unwrap().ino();
    slot.cover(SSRC, 5);
    journal.persist().unwrap();
    let before = (inode(), std::fs::read(machine.copy()).unwrap());
    journal.persist().unwrap();
    assert_eq!((inode(), std::fs::read(machine.copy()).unwrap()), before);

    // A directory in the way of the temporary file makes writing fail, for root too.
    let obstacle = machine.copy().with_extension("indices.new");
    std::fs::create_dir(&obstacle).unwrap();
    slot.cover(SSRC, 500);
    let error = journal.persist().unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot create {}: ", obstacle.display())), "{error}");
    assert_eq!(std::fs::read(machine.copy()).unwrap(), before.1);
    std::fs::remove_dir(&obstacle).unwrap();
    journal.persist().unwrap();
    let image = Image::parse(&std::fs::read(machine.copy()).unwrap()).unwrap();
    assert_eq!(image.records[0].reserved_until, 564);
}
