//! The frame arena: records of variable length from one worker to one recorder, without heap, lock or system call on
//! the worker.
//!
//! A fixed number of blocks of 64 KiB goes round between two rings ([`spsc`](super::spsc)). The worker takes an empty
//! block, gives its number to the recorder at once and fills it from the front; the recorder reads behind it, so a
//! record can be read as soon as it is complete, however slowly the block fills. A full block is closed, and when the
//! recorder has read it to the end it comes back empty. When no block is empty the record is refused: the worker never
//! waits.
//!
//! | word | written by | read by |
//! |---|---|---|
//! | ring of taken blocks | worker | recorder |
//! | ring of empty blocks | recorder | worker |
//! | a block's cursor: octets filled, and whether it is closed | worker, while it fills the block | recorder |
//! | a block's octets below the cursor | nobody, until the block has come back | recorder |
//! | a block's octets from the cursor on | worker | nobody |
//!
//! The line whose order matters is the `Release` store of the cursor in [`Writer::append`], after the octets of the
//! record were written: it pairs with the `Acquire` load in [`Reader::next`]. The cursor is set back to zero before the
//! block's number goes into the ring and after it came out of the other one, so the rings' own order keeps that, and
//! the next filling, apart from the last reading. `tests/arena_model.rs` has loom run this file through every
//! interleaving of small cases.

use super::arena_sync::{Arc, DATA, Ordering, Slab};
use super::spsc::{Consumer, Producer, ring};

/// Octets in front of each record: its length and two words of the caller's.
const HEADER: usize = 24;
/// Bit of a cursor: nothing will be added to this block.
const CLOSED: u32 = 1 << 31;

/// The longest record, in octets.
pub const MAX_RECORD: usize = DATA - HEADER;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// It stands in the block that was being filled.
    Stored,
    /// It stands in a block that was taken for it.
    StoredInNewBlock,
    /// All blocks are full and unread.
    NoBlock,
    /// It is longer than [`MAX_RECORD`].
    TooLong,
}

/// The worker's end.
pub struct Writer {
    slab: Arc<Slab>,
    /// The block that is being filled, and how far.
    open: Option<(u32, usize)>,
    taken: Producer<u32>,
    empty: Consumer<u32>,
}

/// The recorder's end.
pub struct Reader {
    slab: Arc<Slab>,
    /// The block that is being read, and how far.
    open: Option<(u32, usize)>,
    taken: Consumer<u32>,
    empty: Producer<u32>,
    returned: u64,
}

/// An arena over the blocks of `slab`.
pub fn arena(slab: Slab) -> (Writer, Reader) {
    let slab = Arc::new(slab);
    let (taken, taken_consumer) = ring(slab.blocks());
    let (mut empty_producer, empty) = ring(slab.blocks());
    for block in 0..slab.blocks() as u32 {
        // As many places as blocks.
        let _ = empty_producer.push(block);
    }
    empty_producer.publish();
    let writer = Writer { slab: Arc::clone(&slab), open: None, taken, empty };
    (writer, Reader { slab, open: None, taken: taken_consumer, empty: empty_producer, returned: 0 })
}

impl Writer {
    /// Stores a record: `meta` and `body`. The reader can see it when this returns.
    #[inline]
    pub fn append(&mut self, meta: [u64; 2], body: &[u8]) -> Append {
        let len = HEADER + body.len().next_multiple_of(8);
        if len > DATA {
            return Append::TooLong;
        }
        let (block, at, outcome) = match self.open {
            Some((block, at)) if at + len <= DATA => (block, at, Append::Stored),
            _ => match self.next_block() {
                Some(block) => (block, 0, Append::StoredInNewBlock),
                None => return Append::NoBlock,
            },
        };
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[8..16].copy_from_slice(&meta[0].to_le_bytes());
        header[16..].copy_from_slice(&meta[1].to_le_bytes());
        // SAFETY: the block is this end's to fill, and the reader stays below the cursor, which is at `at`.
        unsafe {
            self.slab.write(block, at, &header);
            self.slab.write(block, at + HEADER, body);
        }
        self.slab.cursor(block).store((at + len) as u32, Ordering::Release);
        self.open = Some((block, at + len));
        outcome
    }

    /// Closes the block that is being filled, so that it comes back once it is read. For the end of a run.
    pub fn close(&mut self) {
        if let Some((block, at)) = self.open.take() {
            self.slab.cursor(block).store(at as u32 | CLOSED, Ordering::Release);
        }
    }

    #[inline]
    fn next_block(&mut self) -> Option<u32> {
        self.close();
        let block = self.empty.pop()?;
        self.empty.release();
        self.slab.cursor(block).store(0, Ordering::Relaxed);
        // As many places as blocks.
        let _ = self.taken.push(block);
        self.taken.publish();
        Some(block)
    }
}

/// What was written is not lost with its writer, and its block comes back.
impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Reader {
    /// The next record: its `meta` is returned, its body replaces what is in `body`. `None`: nothing is there now.
    pub fn next(&mut self, body: &mut Vec<u8>) -> Option<[u64; 2]> {
        loop {
            let (block, at) = match self.open {
                Some(open) => open,
                None => (self.taken.pop()?, 0),
            };
            self.taken.release();
            let cursor = self.slab.cursor(block).load(Ordering::Acquire);
            if at < (cursor & !CLOSED) as usize {
                let (meta, len) = self.read(block, at, body);
                self.open = Some((block, at + HEADER + len.next_multiple_of(8)));
                return Some(meta);
            }
            if cursor & CLOSED == 0 {
                self.open = Some((block, at));
                return None;
            }
            self.open = None;
            // As many places as blocks.
            let _ = self.empty.push(block);
            self.empty.publish();
            self.returned += 1;
        }
    }

    /// Blocks that were read to the end and went back, so far.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    fn read(&self, block: u32, at: usize, body: &mut Vec<u8>) -> ([u64; 2], usize) {
        let mut header = [0; HEADER];
        // SAFETY: octets from `at` on are below the cursor that the caller has loaded with Acquire; the writer
        // touches them again only when the block has come back to it.
        unsafe { self.slab.read(block, at, &mut header) };
        let word =
            |at: usize| header[at..at + 8].iter().rev().fold(0, |word, &octet| word << 8 | u64::from(octet));
        let len = (word(0) as usize).min(MAX_RECORD);
        body.clear();
        body.resize(len, 0);
        // SAFETY: as above; header and body were published together.
        unsafe { self.slab.read(block, at + HEADER, body) };
        ([word(8), word(16)], len)
    }
}
