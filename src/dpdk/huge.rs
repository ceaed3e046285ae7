//! A vector of fixed capacity in hugepage memory.
//!
//! What the packet path reads at random out of millions of records must not cost a TLB miss each time: a 2 MiB page
//! covers 512 ordinary ones. The memory is the environment's, so it is taken when the gateway starts and never
//! grows. Without an environment (tests, tools) the same vector lies on the heap.

use std::alloc::Layout;
use std::ffi::CString;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use super::eal::EalInner;
use super::{CACHE_LINE, Eal, Error};

/// Where a [`HugeVec`] lies.
#[derive(Clone, Copy)]
pub enum Memory<'a> {
    /// In the environment's hugepages, on this NUMA node (`None`: any).
    Huge(&'a Eal, Option<u32>),
    /// On the heap.
    Heap,
}

/// A vector that starts on a cache line and never moves.
pub struct HugeVec<T> {
    base: NonNull<T>,
    len: usize,
    capacity: usize,
    owner: Owner,
}

enum Owner {
    Eal(#[allow(dead_code, reason = "keeps the memory's environment alive")] Arc<EalInner>),
    Heap(Layout),
    /// No memory: nothing to hold.
    Nobody,
}

// SAFETY: the vector owns its elements, as a `Vec` does.
unsafe impl<T: Send> Send for HugeVec<T> {}
// SAFETY: as above; `&HugeVec` gives out `&T` only.
unsafe impl<T: Sync> Sync for HugeVec<T> {}

impl<T> HugeVec<T> {
    /// Room for `capacity` elements, zeroed and so backed by real pages. `what` names the contents in an error.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is not enough, with the number of MiB that are needed.
    pub fn with_capacity(memory: Memory<'_>, capacity: usize, what: &'static str) -> Result<Self, Error> {
        const { assert!(align_of::<T>() <= CACHE_LINE) };
        let bytes = capacity.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize);
        let failed = || Error::Memory { what, mib: bytes.unwrap_or(usize::MAX).div_ceil(1 << 20) };
        let bytes = bytes.ok_or_else(failed)?;
        if bytes == 0 {
            return Ok(HugeVec { base: NonNull::dangling(), len: 0, capacity, owner: Owner::Nobody });
        }
        let (raw, owner) = match memory {
            Memory::Huge(eal, socket) => {
                let name = CString::new("voxlane").expect("no NUL byte");
                let socket = socket.map_or(-1, |node| node as i32);
                // SAFETY: the environment is initialised (`eal`); `name` outlives the call.
                let raw =
                    unsafe { dpdk_sys::rte_zmalloc_socket(name.as_ptr(), bytes, CACHE_LINE as u32, socket) };
                (raw.cast::<T>(), Owner::Eal(eal.inner()))
            }
            Memory::Heap => {
                let layout = Layout::from_size_align(bytes, CACHE_LINE).map_err(|_| failed())?;
                // SAFETY: the size is not zero.
                (unsafe { std::alloc::alloc_zeroed(layout) }.cast::<T>(), Owner::Heap(layout))
            }
        };
        let base = NonNull::new(raw).ok_or_else(failed)?;
        Ok(HugeVec { base, len: 0, capacity, owner })
    }

    /// Appends an element; gives it back when there is no room.
    ///
    /// # Errors
    /// The element.
    pub fn push(&mut self, element: T) -> Result<(), T> {
        if self.len == self.capacity {
            return Err(element);
        }
        // SAFETY: `len` is below `capacity`, for which there is memory, and the place holds no element.
        unsafe { self.base.as_ptr().add(self.len).write(element) };
        self.len += 1;
        Ok(())
    }

    /// The address at which element `index` lies, or would lie: for prefetching.
    #[inline(always)]
    pub fn address(&self, index: usize) -> *const u8 {
        self.base.as_ptr().wrapping_add(index).cast::<u8>()
    }

    /// Elements that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<T> Deref for HugeVec<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` places hold elements; `&self` excludes changes.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for HugeVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; `&mut self` excludes other references.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl<T> Drop for HugeVec<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are ours and are not used after this.
        unsafe { std::ptr::drop_in_place(&raw mut **self) };
        match &self.owner {
            // SAFETY: the memory came from rte_zmalloc_socket; the environment lives, for we hold it.
            Owner::Eal(_) => unsafe { dpdk_sys::rte_free(self.base.as_ptr().cast()) },
            // SAFETY: the memory came from the allocator with this layout.
            Owner::Heap(layout) => unsafe { std::alloc::dealloc(self.base.as_ptr().cast(), *layout) },
            Owner::Nobody => {}
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for HugeVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn holds_its_capacity_and_drops_each_element_once() {
        let counted = Rc::new(());
        let mut vec = HugeVec::with_capacity(Memory::Heap, 3, "test").expect("a few bytes");
        for _ in 0..3 {
            vec.push(Rc::clone(&counted)).expect("room");
        }
        assert!(vec.push(Rc::clone(&counted)).is_err());
        assert_eq!((vec.len(), Rc::strong_count(&counted)), (3, 4));
        assert_eq!(vec.address(0).addr() % CACHE_LINE, 0);
        drop(vec);
        assert_eq!(Rc::strong_count(&counted), 1);
    }

    #[test]
    fn takes_no_memory_for_nothing_and_refuses_what_cannot_be() {
        let mut none = HugeVec::<u64>::with_capacity(Memory::Heap, 0, "test").expect("nothing");
        assert!(none.is_empty() && none.push(1).is_err());
        let error = HugeVec::<u64>::with_capacity(Memory::Heap, usize::MAX, "streams").expect_err("too much");
        assert!(error.to_string().contains("streams"), "{error}");
    }
}
