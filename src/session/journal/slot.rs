//! What a worker holds of the journal: one record per sealing key, written by plain stores.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use super::image::{HEADER_LEN, RECORD_LEN, Record, settled, unsettled};
use super::{Damage, Kind};
use crate::dpdk::SharedMemory;

/// Words of a record.
const WORDS: usize = RECORD_LEN / size_of::<u64>();

/// The mapped records, and the lock that keeps other processes away. Shared by the journal and its slots, so
/// that the lock is held for as long as any of them can write.
#[derive(Debug)]
pub(super) struct Records {
    memory: SharedMemory,
    lock: File,
}

impl Records {
    pub(super) fn new(memory: SharedMemory, lock: File) -> Self {
        Records { memory, lock }
    }

    pub(super) fn is_locked_in_memory(&self) -> bool {
        self.memory.is_locked()
    }

    fn all(&self) -> &[[AtomicU64; WORDS]] {
        let (records, _) = self.memory.words().as_chunks();
        records.get(HEADER_LEN / RECORD_LEN..).unwrap_or_default()
    }

    /// The words of one record.
    ///
    /// # Panics
    /// Never: positions come from the journal, out of the range that it has mapped.
    fn fields(&self, position: usize) -> &[AtomicU64; WORDS] {
        self.all().get(position).expect("the journal hands out positions that it has mapped")
    }

    /// Each record that is not free, as it is now.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Record, Damage>> {
        self.all().iter().enumerate().filter_map(|(position, fields)| read(position, fields).transpose())
    }

    /// One record as it is now; `None` if it is free.
    pub(super) fn get(&self, position: usize) -> Option<Result<Record, Damage>> {
        read(position, self.all().get(position)?).transpose()
    }

    /// Writes a record that nobody holds. A kill at any point leaves the old one, a free one or the new one.
    pub(super) fn write(&self, position: usize, record: Record) {
        let [low, high, state, reserved_until] = record.to_words();
        let [to_low, to_high, to_state, to_reserved_until] = self.fields(position);
        // Release keeps these stores in this order: while the key is incomplete the record is free.
        to_state.store(0, Ordering::Relaxed);
        to_low.store(low.to_le(), Ordering::Release);
        to_high.store(high.to_le(), Ordering::Release);
        to_reserved_until.store(reserved_until.to_le(), Ordering::Release);
        to_state.store(state.to_le(), Ordering::Release);
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Closing the file would do, but not while a child of this process that is about to start another
        // program still has it open, too. There is nothing to do about an error here.
        let _ = self.lock.unlock();
    }
}

/// Reads a record while its worker may be writing it. The SSRC is stored before the first index and the
/// index is loaded first here, so an index never comes without its SSRC.
fn read(position: usize, fields: &[AtomicU64; WORDS]) -> Result<Option<Record>, Damage> {
    let [low, high, state, reserved_until] = fields;
    let reserved_until = u64::from_le(reserved_until.load(Ordering::Acquire));
    let state = u64::from_le(state.load(Ordering::Relaxed));
    let [low, high] = [low, high].map(|word| u64::from_le(word.load(Ordering::Relaxed)));
    Record::from_words(position, [low, high, state, reserved_until])
}

/// The place in the journal for one sealing key of one kind. Its holder is the only writer.
///
/// Indices are reserved in blocks ahead of their use, so that the shared cache line is touched once per block
/// and not once per packet. 32 octets, of which the first eight are all that most packets need.
#[derive(Debug)]
#[repr(C)]
pub struct JournalSlot {
    /// The first index that is not reserved: what the record says too.
    reserved_until: u64,
    /// Where this run started.
    floor: u64,
    records: Arc<Records>,
    position: u32,
    kind: Kind,
    /// Whether the record has the SSRC and says that the key is in use.
    announced: bool,
}

impl JournalSlot {
    pub(super) fn new(records: Arc<Records>, position: usize, kind: Kind, floor: u64) -> Self {
        JournalSlot {
            reserved_until: floor,
            floor,
            records,
            position: position as u32,
            kind,
            announced: false,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position as usize
    }

    /// The first index that this run may seal: every lower one may have been sealed by an earlier run.
    #[inline]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Makes sure that `index` is reserved. To be called before the packet is sealed.
    ///
    /// `index` is the 48-bit SRTP packet index or the 31-bit SRTCP index; one that lies lower than an earlier
    /// one is covered already. `ssrc` is recorded with the first reservation of the run: a stream has one.
    #[inline]
    pub fn cover(&mut self, ssrc: u32, index: u64) {
        if index < self.reserved_until {
            return;
        }
        self.reserve(ssrc, index);
    }

    /// Records the exact state of a clean stop: `highest` is the highest index sealed in this run, `None` if
    /// nothing was. The next run starts right after it.
    pub fn settle(&mut self, highest: Option<u64>) {
        let next = highest.map_or(0, |highest| highest.saturating_add(1)).min(self.kind.limit());
        let exact = next.max(self.floor);
        self.store(exact, settled);
        self.reserved_until = exact;
        self.announced = false;
    }

    #[cold]
    fn reserve(&mut self, ssrc: u32, index: u64) {
        let until = index.saturating_add(self.kind.block()).min(self.kind.limit()).max(self.reserved_until);
        if self.announced {
            self.store(until, |state| state);
        } else {
            self.store(until, |state| unsettled(state, ssrc));
        }
        self.announced = true;
        self.reserved_until = until;
    }

    fn store(&self, reserved_until: u64, change: impl FnOnce(u64) -> u64) {
        let [_, _, state, reserved] = self.records.fields(self.position as usize);
        let changed = change(u64::from_le(state.load(Ordering::Relaxed)));
        state.store(changed.to_le(), Ordering::Relaxed);
        reserved.store(reserved_until.to_le(), Ordering::Release);
        // A killed process leaves what it had stored, in the order of its instructions. So the one thing to
        // prevent is that the compiler moves the sealing of the packet to before these stores.
        compiler_fence(Ordering::SeqCst);
    }
}
