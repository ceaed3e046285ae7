//! The arena against a plain queue and between two threads. Beside and not inside `arena.rs`, which the loom model
//! compiles as well.

use std::collections::VecDeque;

use super::Memory;
use super::arena::{Append, MAX_RECORD, arena};
use super::arena_sync::Slab;

fn slab(blocks: usize) -> Slab {
    Slab::new(Memory::Heap, blocks).expect("a few blocks")
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Random records, written and read in random turns: each comes out whole, in order and once; a refusal happens only
/// when every block has unread records in it, and all blocks come back.
#[test]
fn an_arena_does_what_a_queue_does() {
    // Miri takes its time with each: as many as fill and empty the fewest blocks.
    let (records, spell): (u64, u64) = if cfg!(miri) { (800, 200) } else { (60_000, 4_000) };
    for blocks in if cfg!(miri) { vec![1] } else { vec![1, 2, 5] } {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut writer, mut reader) = arena(slab(blocks));
        let mut queue: VecDeque<([u64; 2], Vec<u8>)> = VecDeque::new();
        let (mut taken, mut refused, mut body) = (0, 0, Vec::new());
        for number in 0..records {
            // Long spells of writing and of reading, so that the arena runs full and empty.
            if (number / spell).is_multiple_of(2) || random.next().is_multiple_of(4) {
                let len = (random.next() % 1_600) as usize;
                let octets: Vec<u8> = match cfg!(miri) {
                    true => vec![number as u8; len],
                    false => (0..len).map(|at| (number as usize + at) as u8).collect(),
                };
                let meta = [number, random.next()];
                match writer.append(meta, &octets) {
                    Append::NoBlock => {
                        refused += 1;
                        assert!(taken - reader.returned() >= blocks as u64, "a block was free");
                    }
                    Append::TooLong => panic!("{len} octets fit"),
                    outcome => {
                        taken += u64::from(outcome == Append::StoredInNewBlock);
                        queue.push_back((meta, octets));
                    }
                }
            } else {
                let read = reader.next(&mut body).map(|meta| (meta, body.clone()));
                assert_eq!(read, queue.pop_front());
            }
        }
        assert!(refused > 0, "{blocks} blocks were never full");
        writer.close();
        while let Some(meta) = reader.next(&mut body) {
            assert_eq!(Some((meta, body.clone())), queue.pop_front());
        }
        assert!(queue.is_empty());
        assert_eq!(reader.returned(), taken, "all blocks came back");
    }
}

#[test]
fn the_longest_record_fits_and_a_longer_one_is_refused() {
    let (mut writer, mut reader) = arena(slab(2));
    assert_eq!(writer.append([1, 2], &vec![7; MAX_RECORD + 1]), Append::TooLong);
    for _ in 0..2 {
        assert_eq!(writer.append([1, 2], &vec![7; MAX_RECORD]), Append::StoredInNewBlock);
    }
    assert_eq!(writer.append([1, 2], &[]), Append::NoBlock);
    let mut body = Vec::new();
    assert_eq!(reader.next(&mut body), Some([1, 2]));
    assert_eq!(body, vec![7; MAX_RECORD]);
}

/// A record can be read as soon as it is written, long before its block is full.
#[test]
fn a_block_is_read_while_it_is_filled() {
    let (mut writer, mut reader) = arena(slab(1));
    let mut body = Vec::new();
    for number in 0..10 {
        assert_eq!(reader.next(&mut body), None);
        writer.append([number, 0], b"record");
        assert_eq!(reader.next(&mut body), Some([number, 0]));
        assert_eq!(body, b"record");
    }
}

#[test]
fn two_threads_exchange_everything_in_order() {
    const RECORDS: u64 = if cfg!(miri) { 500 } else { 300_000 };
    let (mut writer, mut reader) = arena(slab(3));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..RECORDS {
                let octets = number.to_le_bytes().repeat(1 + (number % 40) as usize);
                while writer.append([number, !number], &octets) == Append::NoBlock {
                    std::thread::yield_now();
                }
            }
        });
        let (mut expected, mut body) = (0, Vec::new());
        while expected < RECORDS {
            let Some(meta) = reader.next(&mut body) else {
                std::thread::yield_now();
                continue;
            };
            assert_eq!(meta, [expected, !expected]);
            assert_eq!(body, expected.to_le_bytes().repeat(1 + (expected % 40) as usize));
            expected += 1;
        }
        assert_eq!(reader.next(&mut body), None);
    });
}
