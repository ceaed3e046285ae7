//! What a worker's panic said, for the control thread to log.
//!
//! A worker can neither print nor ask for memory, and the usual panic hook does both. [`install_hook`] puts one in
//! its place that writes the message of a worker's panic into that worker's [`PanicNote`] and leaves all other threads
//! to the hook that was there before.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 512;

/// The message of one panic.
///
/// Written by its worker while it is empty, emptied by the control thread: the first of several panics is kept.
#[derive(Debug)]
pub struct PanicNote {
    is_full: AtomicBool,
    len: AtomicUsize,
    bytes: [AtomicU8; MESSAGE_BYTES],
}

thread_local! {
    static NOTE: RefCell<Option<Arc<PanicNote>>> = const { RefCell::new(None) };
}

impl PanicNote {
    /// An empty note.
    pub const fn new() -> Self {
        PanicNote {
            is_full: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            bytes: [const { AtomicU8::new(0) }; MESSAGE_BYTES],
        }
    }

    /// Makes this the calling thread's note.
    pub fn adopt(self: &Arc<Self>) {
        NOTE.with(|note| *note.borrow_mut() = Some(Arc::clone(self)));
    }

    /// Notes `message`, cut at 512 bytes, unless there is one that nobody has taken. Takes nothing from the heap.
    /// Worker only.
    pub fn write(&self, message: &dyn fmt::Display) {
        if self.is_full.load(Ordering::Acquire) {
            return;
        }
        self.len.store(0, Ordering::Relaxed);
        let _ = write!(Writer(self), "{message}");
        self.is_full.store(true, Ordering::Release);
    }

    /// The message, if there is one, which makes room for the next. Control only.
    pub fn take(&self) -> Option<String> {
        if !self.is_full.load(Ordering::Acquire) {
            return None;
        }
        let len = self.len.load(Ordering::Relaxed);
        let bytes: Vec<u8> = self.bytes.iter().take(len).map(|byte| byte.load(Ordering::Relaxed)).collect();
        self.is_full.store(false, Ordering::Release);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Default for PanicNote {
    fn default() -> Self {
        Self::new()
    }
}

/// Appends to a note; what does not fit is left out.
struct Writer<'n>(&'n PanicNote);

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = self.0.len.load(Ordering::Relaxed);
        let room = self.0.bytes.iter().skip(start);
        let written = room.zip(text.bytes()).map(|(slot, byte)| slot.store(byte, Ordering::Relaxed)).count();
        self.0.len.store(start + written, Ordering::Relaxed);
        Ok(())
    }
}

/// Installs the hook, once in a process.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_noted = NOTE.try_with(|note| {
                let Ok(note) = note.try_borrow() else { return false };
                let Some(note) = note.as_ref() else { return false };
                note.write(&Message(info));
                true
            });
            if !is_noted.unwrap_or(false) {
                previous(info);
            }
        }));
    });
}

/// Where and what, in one line.
struct Message<'i, 'a>(&'i PanicHookInfo<'a>);

impl fmt::Display for Message<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = self.0.location() {
            write!(f, "{location}: ")?;
        }
        let payload = self.0.payload();
        let text = payload.downcast_ref::<&str>().copied();
        f.write_str(
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_kept_until_it_is_taken() {
        let note = PanicNote::new();
        assert_eq!(note.take(), None);
        note.write(&"one");
        note.write(&"two");
        assert_eq!(note.take().as_deref(), Some("one"));
        assert_eq!(note.take(), None);
        note.write(&format_args!("{}", "x".repeat(2 * MESSAGE_BYTES)));
        assert_eq!(note.take().map(|text| text.len()), Some(MESSAGE_BYTES));
    }

    #[test]
    fn a_panic_of_a_thread_with_a_note_is_noted_with_its_place() {
        install_hook();
        install_hook();
        let note = Arc::new(PanicNote::new());
        let worker = Arc::clone(&note);
        let ended = std::thread::spawn(move || {
            worker.adopt();
            let number = 7;
            panic!("burst {number} went wrong");
        });
        assert!(ended.join().is_err());
        let text = note.take().expect("noted");
        assert!(text.contains("panic_note.rs:"), "{text}");
        assert!(text.ends_with(": burst 7 went wrong"), "{text}");
    }
}
