//! What [`arena`](super::arena) is built from: the standard library's atomics and blocks in hugepages here, loom's in
//! `tests/arena_model.rs`, which compiles that very file against them.

use std::cell::UnsafeCell;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicU32, Ordering};

use crate::dpdk::{Error, HugeVec, Memory};

/// Octets of a block, its cursor's line included.
const BLOCK: usize = 64 * 1024;
/// Octets of a block that records can fill.
pub const DATA: usize = BLOCK - crate::dpdk::CACHE_LINE;

#[repr(C, align(64))]
struct Block {
    cursor: AtomicU32,
    _line: [u32; 15],
    data: UnsafeCell<[u8; DATA]>,
}

const _: () = assert!(size_of::<Block>() == BLOCK);

// SAFETY: `data` is touched through `Slab::write` and `Slab::read` alone, whose callers answer for it.
unsafe impl Sync for Block {}

/// The blocks of an arena.
pub struct Slab {
    blocks: HugeVec<Block>,
}

impl Slab {
    /// `count` blocks in `memory`, every page of them written once.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(memory: Memory<'_>, count: usize) -> Result<Self, Error> {
        let mut blocks = HugeVec::with_capacity(memory, count, "blocks of the media tap")?;
        let block = || Block { cursor: AtomicU32::new(0), _line: [0; 15], data: UnsafeCell::new([0; DATA]) };
        while blocks.len() < count && blocks.push(block()).is_ok() {}
        Ok(Slab { blocks })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The cursor of a block that this slab has.
    #[inline(always)]
    pub fn cursor(&self, block: u32) -> &AtomicU32 {
        &self.blocks[block as usize].cursor
    }

    /// Writes `bytes` from octet `at` of `block` on; what does not fit is left out.
    ///
    /// # Safety
    /// Nobody reads or writes these octets meanwhile.
    #[inline(always)]
    pub unsafe fn write(&self, block: u32, at: usize, bytes: &[u8]) {
        let len = bytes.len().min(DATA.saturating_sub(at));
        let data = self.blocks[block as usize].data.get().cast::<u8>();
        // SAFETY: in bounds, for `at + len <= DATA` unless `len` is 0; the caller has these octets to itself.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.wrapping_add(at), len) };
    }

    /// Fills `bytes` from octet `at` of `block` on, as far as the block goes.
    ///
    /// # Safety
    /// Nobody writes these octets meanwhile.
    #[inline(always)]
    pub unsafe fn read(&self, block: u32, at: usize, bytes: &mut [u8]) {
        let len = bytes.len().min(DATA.saturating_sub(at));
        let data = self.blocks[block as usize].data.get().cast::<u8>();
        // SAFETY: in bounds as above; the octets were written, by `new` at least, and nobody writes them now.
        unsafe { std::ptr::copy_nonoverlapping(data.wrapping_add(at), bytes.as_mut_ptr(), len) };
    }
}
