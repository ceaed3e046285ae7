//! Files that are damaged or foreign, and the layout that tells them from good ones.

use super::super::image::{HEADER_LEN, RECORD_LEN};
use super::super::*;
use super::{BOOT, Machine, SSRC, floor, key};

/// Every byte of header and records, every truncation, of both files: refused, and the file is left alone.
#[test]
fn damaged_files_are_refused() {
    let machine = Machine::new();
    let mut journal = machine.open(2);
    let (mut slot, _) = journal.slot(key(1), Kind::Srtp).unwrap();
    slot.cover(SSRC, 500);
    slot.settle(Some(500));
    journal.close().unwrap();
    drop(slot);

    let (mapped, copy) = (machine.mapped(), machine.copy());
    let (mapped_bytes, copy_bytes) = (std::fs::read(&mapped).unwrap(), std::fs::read(&copy).unwrap());
    assert_eq!(
        (mapped_bytes.len(), copy_bytes.len()),
        (HEADER_LEN + 4 * RECORD_LEN, HEADER_LEN + RECORD_LEN)
    );
    let refused = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).unwrap();
        let error = machine.try_open(2, BOOT).unwrap_err();
        let JournalError::Damaged { path: named, damage } = &error else { panic!("{error:?}") };
        assert_eq!((named.as_path(), std::fs::read(path).unwrap().as_slice()), (path, bytes));
        let expected = format!(
            "{} is not a usable index journal: {damage}; restore it, or move it away if, and only if, every key in \
             the configuration is new",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        *damage
    };
    for (path, bytes) in [(&mapped, &mapped_bytes), (&copy, &copy_bytes)] {
        // The records of the mapped file change all the time and have no checksum.
        let checked = if path == &mapped { HEADER_LEN } else { bytes.len() };
        for position in 0..checked {
            for bit in 0..8 {
                let mut broken = bytes.clone();
                broken[position] ^= 1 << bit;
                let damage = refused(path, &broken);
                match position {
                    0..8 => assert_eq!(damage, Damage::Magic),
                    8..12 => assert!(matches!(damage, Damage::Version(_))),
                    12..16 => assert!(matches!(damage, Damage::Version(1))),
                    16..HEADER_LEN => assert_eq!(damage, Damage::HeaderChecksum),
                    _ => assert_eq!(damage, Damage::RecordsChecksum),
                }
            }
        }
        for len in 0..bytes.len() {
            refused(path, &bytes[..len]);
        }
        assert!(matches!(refused(path, &[bytes.as_slice(), b"x"].concat()), Damage::Length { .. }));
        std::fs::write(path, bytes).unwrap();
    }
    let with_record = |position: usize, change: &dyn Fn(&mut [u8])| {
        let mut broken = mapped_bytes.clone();
        change(&mut broken[HEADER_LEN + position * RECORD_LEN..]);
        refused(&mapped, &broken)
    };
    assert_eq!(with_record(1, &|record| record[20] = 3), Damage::Kind { record: 1, kind: 3 });
    let index = (1 << 48) + 1_u64;
    let damage = with_record(0, &|record| record[24..32].copy_from_slice(&index.to_le_bytes()));
    assert_eq!(damage, Damage::Index { record: 0, index });
    let first = mapped_bytes[HEADER_LEN..HEADER_LEN + RECORD_LEN].to_vec();
    let damage = with_record(1, &|record| record[..RECORD_LEN].copy_from_slice(&first));
    assert_eq!(damage, Damage::Duplicate { record: 1 });
    // Moved away, as the message says: a new beginning.
    std::fs::remove_file(&mapped).unwrap();
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(floor(&mut machine.open(2), 1, Kind::Srtp), None);
}

/// The layout is a promise to later releases: bytes, not round trips.
#[test]
fn layout() {
    let header = Header {
        records: 0x0102,
        run: 0x0304_0506,
        clean: true,
        boot: *b"0123456789abcdef",
        checksum: Some(0x1122_3344_5566_7788),
    };
    let bytes = header.to_bytes();
    let expected = [
        b"voxlnidx".as_slice(),
        &[1, 0, 0, 0, 32, 0, 0, 0],
        &[2, 1, 0, 0, 0, 0, 0, 0],
        &[6, 5, 4, 3, 3, 0, 0, 0],
        b"0123456789abcdef",
        &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
    ];
    assert_eq!(bytes[..56], expected.concat());
    let record = Record {
        fingerprint: *b"fedcba9876543210",
        kind: Kind::Srtcp,
        unsettled: true,
        run: 0xffff_ffff,
        ssrc: 0x0a0b_0c0d,
        reserved_until: 0x7fff_fffe,
    };
    let mut bytes = Vec::new();
    record.append_to(&mut bytes);
    let expected = [
        b"fedcba9876543210".as_slice(),
        &[0xd, 0xc, 0xb, 0xa],
        &[0x82, 0xff, 0xff, 0xff],
        &[0xfe, 0xff, 0xff, 0x7f, 0, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
    let read = Record::from_words(0, record.to_words()).unwrap().unwrap();
    assert_eq!(read, Record { run: 0x00ff_ffff, ..record });
}
