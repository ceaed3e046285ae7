//! The frame arena under loom: the very file of the gateway, compiled against loom's atomics and cells, through the
//! interleavings of small cases and the reorderings that the memory model allows.
//!
//! What must hold in each of them: a record is read whole, in its order and once, or was refused; the reader never
//! touches an octet that the writer may be writing (loom's cells see every access); every block comes back.

#![forbid(unsafe_op_in_unsafe_fn)]

#[path = "../src/dpdk/arena.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
#[allow(unused_unsafe, reason = "loom checks at run time what the gateway's blocks promise")]
mod arena;
#[path = "../src/dpdk/spsc.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
mod spsc;

/// loom's cells and atomics in place of `src/dpdk/spsc_sync.rs`.
mod spsc_sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicUsize, Ordering};
}

/// Blocks of a few words in place of `src/dpdk/arena_sync.rs`, each word a cell whose accesses loom sees.
mod arena_sync {
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicU32, Ordering};

    use loom::cell::Cell;

    /// Room for two records without body, or one with.
    pub const DATA: usize = 48;

    pub struct Slab {
        blocks: Vec<(AtomicU32, Vec<Cell<[u8; 8]>>)>,
    }

    impl Slab {
        pub fn new(count: usize) -> Self {
            let words = || (0..DATA / 8).map(|_| Cell::new([0; 8])).collect();
            Slab { blocks: (0..count).map(|_| (AtomicU32::new(0), words())).collect() }
        }

        pub fn blocks(&self) -> usize {
            self.blocks.len()
        }

        pub fn cursor(&self, block: u32) -> &AtomicU32 {
            &self.blocks[block as usize].0
        }

        /// `at` is at a word.
        pub fn write(&self, block: u32, at: usize, bytes: &[u8]) {
            for (number, chunk) in bytes.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.blocks[block as usize].1[at / 8 + number].set(word);
            }
        }

        /// `at` is at a word.
        pub fn read(&self, block: u32, at: usize, bytes: &mut [u8]) {
            for (number, chunk) in bytes.chunks_mut(8).enumerate() {
                let word = self.blocks[block as usize].1[at / 8 + number].get();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }
    }
}

use arena::{Append, Reader, Writer, arena};
use arena_sync::Slab;

/// Every interleaving with up to three preemptions, as for the hand-over.
fn explore(case: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(case);
}

/// Writes records that can be told apart, with bodies of the given lengths; returns those that were refused.
fn write(writer: &mut Writer, lengths: &[usize]) -> Vec<u64> {
    let mut refused = Vec::new();
    for (number, &len) in (1..).zip(lengths) {
        match writer.append([number, !number], &vec![number as u8; len]) {
            Append::NoBlock => refused.push(number),
            outcome => assert_ne!(outcome, Append::TooLong),
        }
    }
    refused
}

/// Reads what is there now.
fn look(reader: &mut Reader, lengths: &[usize], seen: &mut Vec<u64>) {
    let mut body = Vec::new();
    while let Some([number, other]) = reader.next(&mut body) {
        assert_eq!(other, !number, "a torn record");
        assert_eq!(body, vec![number as u8; lengths[number as usize - 1]], "the body of record {number}");
        seen.push(number);
    }
}

fn run(blocks: usize, lengths: &'static [usize], looks: usize) {
    explore(move || {
        let (mut writer, mut reader) = arena(Slab::new(blocks));
        let worker = loom::thread::spawn(move || write(&mut writer, lengths));
        let mut seen = Vec::new();
        for _ in 0..looks {
            look(&mut reader, lengths, &mut seen);
        }
        let refused = worker.join().expect("the worker ends");
        // Its end has closed the last block.
        look(&mut reader, lengths, &mut seen);
        assert!(seen.is_sorted(), "{seen:?}");
        let mut all = [seen, refused].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=lengths.len() as u64).collect::<Vec<_>>(), "each once");
        assert!(reader.returned() >= 1, "blocks come back");
    });
}

/// Two records in one block, read while the second is written.
#[test]
fn a_block_is_read_behind_the_writer() {
    run(1, &[0, 0], 2);
}

/// Three blocks' worth of records through one block: it is reused while the reader may still be looking.
#[test]
fn a_block_that_came_back_is_filled_again() {
    run(1, &[8, 16, 24], 3);
}

/// Two blocks, one filled while the other is read.
#[test]
fn blocks_go_round() {
    run(2, &[24, 0, 0, 24], 2);
}
