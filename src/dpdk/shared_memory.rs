//! A file of a memory file system mapped as a slice of atomic words.
//!
//! What is stored there is in the page cache, which outlives the process however it ends, and a store is an
//! ordinary machine instruction: no system call, and no page fault once the mapping is populated. Used for
//! what a worker must leave behind even if it is killed.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// `RAMFS_MAGIC` of linux/magic.h, which the libc crate does not name.
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;

/// A whole file, mapped shared and writable. Unmapped on drop; the file keeps what was stored.
///
/// The file must not be shortened by anyone while it is mapped: the kernel answers an access beyond the end
/// with SIGBUS.
#[derive(Debug)]
pub struct SharedMemory {
    base: NonNull<AtomicU64>,
    words: usize,
    locked: bool,
}

// SAFETY: the mapping belongs to this value, not to a thread, and is reached through atomics alone.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps all of `file`, which is open for reading and writing, with every page populated and, where the
    /// limits of the process allow it, locked against swapping.
    ///
    /// # Errors
    /// `InvalidInput` when the length is zero or no multiple of 8 bytes; otherwise what the system says.
    pub fn map(file: &File) -> io::Result<Self> {
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if bytes == 0 || !bytes.is_multiple_of(size_of::<AtomicU64>()) {
            let message = format!("a length of {bytes} bytes is not a positive multiple of 8");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        // SAFETY: the kernel chooses the address, so the new mapping overlaps nothing that exists.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `base` and `bytes` are the mapping just made.
        let locked = unsafe { libc::mlock(base, bytes) } == 0;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(SharedMemory { base, words: bytes / size_of::<AtomicU64>(), locked })
    }

    /// The file's contents as 64-bit words, from offset 0.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `words` words long, page-aligned, readable and writable until drop, which
        // this borrow delays. All bit patterns are valid, and whoever else maps the file also sees memory
        // that is only ever reached through atomics here.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }

    /// Whether the pages are locked in memory. Where they are not, a machine that swaps may stall a writer.
    pub fn is_locked(&self) -> bool {
        self.locked
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: address and length of the mapping, to which no reference is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
    }
}

/// Whether the file or directory is on a file system without a disk behind it (tmpfs, ramfs).
///
/// On any other, write-back protects dirty pages against writing now and then, and a store to a mapped page
/// would fault and wait.
///
/// # Errors
/// What the system says.
pub fn is_memory_backed(file: &File) -> io::Result<bool> {
    // SAFETY: `statfs` is plain integers, for which all zeros is a valid value.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `info` is what the call fills in.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut info) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.f_type == libc::TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn memory_file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("/dev/shm is writable");
        std::fs::write(file.path(), contents).expect("tmpfs has room");
        file
    }

    /// What one mapping stores, the file and a second mapping show at once.
    #[test]
    fn stores_reach_the_file() {
        let file = memory_file(&[0; 4096 + 8]);
        let (one, two) =
            (SharedMemory::map(file.as_file()).unwrap(), SharedMemory::map(file.as_file()).unwrap());
        assert_eq!(one.words().len(), 513);
        one.words()[512].store(0x0102_0304, Ordering::Relaxed);
        assert_eq!(two.words()[512].load(Ordering::Relaxed), 0x0102_0304);
        drop((one, two));
        assert_eq!(std::fs::read(file.path()).unwrap()[4096..], 0x0102_0304_u64.to_ne_bytes());
    }

    #[test]
    fn lengths_that_are_not_whole_words_are_refused() {
        for len in [0, 1, 7, 9, 4095] {
            let file = memory_file(&vec![0; len]);
            let error = SharedMemory::map(file.as_file()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{len}");
        }
    }

    #[test]
    fn file_systems_are_told_apart() {
        let open = |path| File::open(path).expect("exists on every Linux system");
        assert!(is_memory_backed(&open("/dev/shm")).unwrap());
        assert!(!is_memory_backed(&open("/proc/self")).unwrap());
    }
}
