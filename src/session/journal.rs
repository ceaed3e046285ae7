//! The index journal: what a restart must know so that no index is sealed twice under one key.
//!
//! The gateway seals a packet with the index that it was received with. Keys are configured, so they survive
//! a crash; a packet that was sealed before it must not be sealed differently after it (RFC 3711 §9.1). For
//! each sealing key the journal holds the first index that no run can have used yet.
//!
//! **Where it is.** `<runtime_dir>/<gateway>.indices`, mapped from a memory file system. A worker reserves
//! indices in blocks through its [`JournalSlot`]: a comparison per packet, two plain stores per block, no
//! system call, no lock. What was stored outlives a process that is killed. What outlives the machine is a
//! copy in `state_dir`, made by the control thread once a second ([`Journal::persist`]) and at a clean stop
//! ([`Journal::close`]).
//!
//! **What a start resumes from:**
//!
//! | found | a key resumes at |
//! |---|---|
//! | the mapped file of this boot, clean stop | the index after the last one sealed |
//! | the mapped file of this boot, crash | up to 64 SRTP indices later; SRTCP exactly |
//! | the copy of a clean stop | the index after the last one sealed |
//! | any other copy | 4,096 SRTP or 64 SRTCP indices after what the copy says |
//! | nothing | the beginning: all keys must be new |
//!
//! The margin of the last case stands for what was sealed after the copy: a second of copying at any sane
//! packet rate, with room for a slow disk. Two things exceed it, and only if the machine (not the process)
//! fails: a copy that has been failing for long, which is why [`Journal::persist`] reports it, and a key
//! whose very first packets were sealed after the last copy, which the copy cannot know.
//!
//! The thread that owns the [`Journal`] opens it, hands the slots of a key to the streams and makes the copies.
//! Each slot goes to one worker, which alone writes that record from then on. A key's two records share a cache line.

mod image;
mod recover;
mod slot;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use image::Damage;
pub use slot::JournalSlot;

use foldhash::fast::RandomState;

use image::{HEADER_LEN, Header, Record};
use slot::Records;

/// What a sealing key is used for: SRTP and SRTCP count their indices apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// RTP under SRTP: 48-bit packet indices.
    Srtp,
    /// RTCP under SRTCP: 31-bit indices.
    Srtcp,
}

/// What earlier runs did with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// SSRC of the stream that used it last.
    pub ssrc: u32,
    /// The first index that cannot have been sealed: 1 to 2^48 (SRTP) or 2^31 (SRTCP), where the limit means
    /// that the key has no index left.
    pub floor: u64,
}

/// A record for a stream, and where to resume if its key was used before.
pub type Slot = (JournalSlot, Option<Resumed>);

/// The records of all sealing keys, and who holds which.
#[derive(Debug)]
pub struct Journal {
    records: Arc<Records>,
    path: PathBuf,
    header: Header,
    /// Keys that there is room for.
    capacity: usize,
    /// Where each key is in `entries`.
    numbers: HashMap<[u8; 16], u32, RandomState>,
    entries: Vec<Entry>,
    /// Keys of earlier runs, the one used longest ago last; made when there is no room for another entry.
    evictable: Option<Vec<u32>>,
    /// Keys that this run has handed out and got back, the one that came back longest ago first, each with how often its
    /// entry had been handed out then.
    released: VecDeque<(u32, u32)>,
    copy: Option<DiskCopy>,
}

/// A key: its SRTP record stands at twice its number, its SRTCP record behind it.
#[derive(Debug)]
struct Entry {
    fingerprint: [u8; 16],
    /// By [`Kind::number`].
    resumed: [Option<Resumed>; 2],
    run: u32,
    /// A bit for each kind: streams of this run have it.
    taken: u8,
    /// How often the entry was handed out, to this key or another.
    times: u32,
}

/// The file on disk.
#[derive(Debug)]
struct DiskCopy {
    path: PathBuf,
    /// What it holds; empty when that is not known.
    written: Vec<u8>,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The gateway's name cannot be part of a file name.
    #[error("the gateway name {0:?} cannot be a file name; use letters, digits, '-' and '_'")]
    Name(String),
    /// A directory is missing and cannot be made.
    #[error(
        "cannot create the directory {path}: {reason}; create it with mode 0700, owned by the gateway's user"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The runtime directory is on a disk.
    #[error(
        "{0} is not on a memory file system, so packets would wait for its disk; \
         use one on tmpfs, such as /run or /dev/shm, or: mount -t tmpfs tmpfs {0}"
    )]
    NotInMemory(PathBuf),
    /// The copy would overwrite what it is a copy of.
    #[error(
        "{0} is both runtime and state directory; use a state directory on a disk, which outlives a reboot"
    )]
    SameDirectory(PathBuf),
    /// Another process has the journal.
    #[error(
        "{0} is locked by a running gateway of the same name; stop that one or give this one another name"
    )]
    InUse(PathBuf),
    /// A file operation failed.
    #[error("cannot {operation} {path}: {reason}; check its owner, permissions and free space")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// A file is not a journal, or not an intact one.
    #[error(
        "{path} is not a usable index journal: {damage}; restore it, or move it away if, and only if, every key in \
         the configuration is new"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The machine does not say which boot this is.
    #[error("cannot tell this boot from others: {path} holds {found:?} instead of a UUID; mount /proc")]
    BootId {
        /// The file that should say it.
        path: &'static str,
        /// What it holds.
        found: String,
    },
    /// All keys are held by streams of this run.
    #[error(
        "the index journal has room for {capacity} keys and all are in use; open it with a larger capacity"
    )]
    Full {
        /// Number of keys.
        capacity: usize,
    },
    /// A stream of this run already seals with the key.
    #[error(
        "two streams seal with the key of fingerprint {fingerprint:032x}, which would repeat nonces; \
         give each leg its own key"
    )]
    KeyTaken {
        /// The key's fingerprint, its first byte the most significant.
        fingerprint: u128,
    },
}

impl Journal {
    /// Opens the journal of `gateway` in `runtime_dir`, a directory on a memory file system, with room for at
    /// least `capacity` keys; each protected direction of a session takes one.
    ///
    /// With `state_dir`, the journal is copied there and taken from there after a reboot. The copy on disk is
    /// marked as that of a running gateway before this returns. Missing directories are created with mode
    /// 0700, files have mode 0600.
    ///
    /// Keys that no stream asks for are kept; give `capacity` room for those that may come back.
    ///
    /// # Errors
    /// [`JournalError`]; nothing that an earlier run recorded is lost then.
    pub fn open(
        runtime_dir: &Path,
        state_dir: Option<&Path>,
        gateway: &str,
        capacity: usize,
    ) -> Result<Self, JournalError> {
        Self::open_in_boot(runtime_dir, state_dir, gateway, capacity, recover::boot_id()?)
    }

    fn open_in_boot(
        runtime_dir: &Path,
        state_dir: Option<&Path>,
        gateway: &str,
        capacity: usize,
        boot: [u8; 16],
    ) -> Result<Self, JournalError> {
        if gateway.contains('\0') || Path::new(gateway).file_name().is_none_or(|name| name != gateway) {
            return Err(JournalError::Name(gateway.to_owned()));
        }
        let lock = recover::lock(runtime_dir, gateway)?;
        let file_name = format!("{gateway}.indices");
        let path = runtime_dir.join(&file_name);
        let copy = match state_dir {
            Some(directory) => {
                recover::ensure_directory(directory)?;
                if recover::is_same_directory(runtime_dir, directory)? {
                    return Err(JournalError::SameDirectory(directory.to_owned()));
                }
                Some(DiskCopy { path: directory.join(&file_name), written: Vec::new() })
            }
            None => None,
        };

        let recovered = recover::recover(&path, copy.as_ref().map(|copy| copy.path.as_path()), boot)?;
        let mut numbers = HashMap::with_hasher(RandomState::default());
        let mut entries: Vec<Entry> = Vec::new();
        for record in &recovered.records {
            let number = *numbers.entry(record.fingerprint).or_insert(entries.len() as u32) as usize;
            if number == entries.len() {
                entries.push(Entry::of(record.fingerprint));
            }
            if let Some(entry) = entries.get_mut(number) {
                let resumed = Resumed { ssrc: record.ssrc, floor: record.reserved_until };
                entry.resumed[record.kind.number()] = Some(resumed);
                entry.run = entry.run.max(record.run);
            }
        }
        let capacity = capacity.max(entries.len());
        // All memory that the journal will ever need.
        entries.reserve_exact(capacity - entries.len());
        numbers.reserve(capacity - numbers.len());
        let records = 2 * capacity as u64;
        let header = Header { records, run: recovered.run, clean: false, boot, checksum: None };
        let mut placed = vec![None; 2 * entries.len()];
        for record in recovered.records {
            let number = numbers.get(&record.fingerprint);
            let place = number.and_then(|&number| placed.get_mut(position(number, record.kind)));
            place.into_iter().for_each(|place| *place = Some(record));
        }
        let memory = recover::create(&path, header, &placed)?;
        let mut journal = Journal {
            numbers,
            entries,
            records: Arc::new(Records::new(memory, lock)),
            path,
            header,
            capacity,
            evictable: None,
            released: VecDeque::with_capacity(2 * capacity + 1),
            copy,
        };
        // From the first packet on, a copy left by a clean stop would promise too much.
        journal.persist()?;
        Ok(journal)
    }

    /// The records of one sealing key ([`MasterKey::fingerprint`](crate::srtp::MasterKey::fingerprint)) for
    /// the one stream that seals with it, SRTP's and SRTCP's, and where to resume if the key was used before.
    ///
    /// When there is no free record, the key that was used longest ago is forgotten; never one that a stream has.
    ///
    /// # Errors
    /// [`JournalError::KeyTaken`] when a stream has the key; [`JournalError::Full`].
    pub fn slots(&mut self, fingerprint: [u8; 16]) -> Result<[Slot; 2], JournalError> {
        let number = match self.numbers.get(&fingerprint) {
            Some(&number) => number,
            None => {
                let number = self.free_number()?;
                self.numbers.insert(fingerprint, number);
                match self.entries.get_mut(number as usize) {
                    Some(entry) => *entry = Entry { times: entry.times, ..Entry::of(fingerprint) },
                    None => self.entries.push(Entry::of(fingerprint)),
                }
                number
            }
        };
        let run = self.header.run;
        let entry = &mut self.entries[number as usize];
        if entry.taken != 0 {
            return Err(JournalError::KeyTaken { fingerprint: u128::from_be_bytes(fingerprint) });
        }
        (entry.run, entry.times) = (run, entry.times.wrapping_add(1));
        Ok(Kind::BOTH.map(|kind| {
            entry.taken |= kind.bit();
            let resumed = entry.resumed[kind.number()];
            let Resumed { ssrc, floor } = resumed.unwrap_or(Resumed { ssrc: 0, floor: 0 });
            let position = position(number, kind);
            self.records.write(
                position,
                Record { fingerprint, kind, unsettled: true, run, ssrc, reserved_until: floor },
            );
            (JournalSlot::new(Arc::clone(&self.records), position, kind, floor), resumed)
        }))
    }

    /// Takes a record back from a stream that has ended and was settled. Once both of a key are back, it can be given out
    /// again. The key is remembered, and a stream that is given it again resumes where this one stopped, until the records
    /// are needed for another key: those that came back longest ago are forgotten first.
    pub fn release(&mut self, slot: &JournalSlot) {
        let number = slot.position() / 2;
        let Some(entry) = self.entries.get_mut(number) else { return };
        let Some(Ok(record)) = self.records.get(slot.position()) else { return };
        if entry.taken & record.kind.bit() == 0 {
            return;
        }
        entry.taken &= !record.kind.bit();
        entry.resumed[record.kind.number()] = (record.reserved_until > 0)
            .then_some(Resumed { ssrc: record.ssrc, floor: record.reserved_until });
        if entry.taken != 0 {
            return;
        }
        self.released.push_back((number as u32, entry.times));
        // Keys that were taken again are in there for nothing.
        if self.released.len() > 2 * self.capacity {
            let entries = &self.entries;
            self.released.retain(|&(number, times)| is_free(entries, number, times));
        }
    }

    /// Copies the journal to the state directory, if there is one and anything has changed: atomically, and
    /// on disk when this returns. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`JournalError::File`]. The older copy is intact then, but with every second it falls further behind
    /// the margin that a reboot allows for, so this must reach the operator.
    pub fn persist(&mut self) -> Result<(), JournalError> {
        self.write_copy(false)
    }

    /// Makes the last copy, after the workers have settled their slots. It is marked clean, so that nothing
    /// is skipped after a reboot, unless a slot was not settled.
    ///
    /// # Errors
    /// As [`Journal::persist`].
    pub fn close(mut self) -> Result<(), JournalError> {
        self.write_copy(true)
    }

    /// Whether the records are locked in memory; if not (see `ulimit -l`), a machine that swaps may stall
    /// workers.
    pub fn is_locked_in_memory(&self) -> bool {
        self.records.is_locked_in_memory()
    }

    /// An entry for another key: one that was never used, or the one that is missed least.
    fn free_number(&mut self) -> Result<u32, JournalError> {
        if self.entries.len() < self.capacity {
            return Ok(self.entries.len() as u32);
        }
        let entries = &self.entries;
        let evictable = self.evictable.get_or_insert_with(|| {
            let numbered = entries.iter().enumerate();
            let free = numbered.filter(|(_, entry)| entry.taken == 0 && entry.times == 0);
            let mut old: Vec<_> = free.map(|(number, entry)| (entry.run, number as u32)).collect();
            old.sort_unstable_by_key(|&age| std::cmp::Reverse(age));
            old.into_iter().map(|(_, number)| number).collect()
        });
        // Either may have been taken since it was put there.
        let mut unused = std::iter::from_fn(|| evictable.pop()).filter(|&number| is_free(entries, number, 0));
        let mut released = std::iter::from_fn(|| self.released.pop_front());
        let number = match unused.next() {
            Some(number) => Some(number),
            None => {
                released.find(|&(number, times)| is_free(entries, number, times)).map(|(number, _)| number)
            }
        };
        let number = number.ok_or(JournalError::Full { capacity: self.capacity })?;
        if let Some(entry) = entries.get(number as usize) {
            self.numbers.remove(&entry.fingerprint);
        }
        Ok(number)
    }

    fn write_copy(&mut self, stopped: bool) -> Result<(), JournalError> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        let mut bytes = Vec::with_capacity(copy.written.len().max(HEADER_LEN));
        bytes.resize(HEADER_LEN, 0);
        let mut clean = stopped;
        for record in self.records.iter() {
            let record =
                record.map_err(|damage| JournalError::Damaged { path: self.path.clone(), damage })?;
            clean &= !record.unsettled;
            // A key that sealed nothing has nothing to remember.
            if record.reserved_until > 0 {
                record.append_to(&mut bytes);
            }
        }
        if let Some((head, body)) = bytes.split_first_chunk_mut::<HEADER_LEN>() {
            let records = (body.len() / image::RECORD_LEN) as u64;
            let checksum = Some(image::records_checksum(body));
            *head = Header { records, clean, checksum, ..self.header }.to_bytes();
        }
        if bytes != copy.written {
            copy.written.clear();
            recover::replace(&copy.path, &bytes)?;
            copy.written = bytes;
        }
        Ok(())
    }
}

impl Entry {
    const fn of(fingerprint: [u8; 16]) -> Self {
        Entry { fingerprint, resumed: [None; 2], run: 0, taken: 0, times: 0 }
    }
}

/// Whether no stream has had an entry since it had been handed out so many times.
fn is_free(entries: &[Entry], number: u32, times: u32) -> bool {
    entries.get(number as usize).is_some_and(|entry| entry.taken == 0 && entry.times == times)
}

/// Where a record of a key stands.
const fn position(number: u32, kind: Kind) -> usize {
    2 * number as usize + kind.number()
}

impl Kind {
    const BOTH: [Kind; 2] = [Kind::Srtp, Kind::Srtcp];

    const fn number(self) -> usize {
        self as usize
    }

    const fn bit(self) -> u8 {
        1 << self.number()
    }

    /// Indices that a reservation takes: what a crash may skip. SRTCP packets are rare enough to reserve one
    /// by one, and skipping 64 of them could silence RTCP for minutes.
    const fn block(self) -> u64 {
        match self {
            Kind::Srtp => 64,
            Kind::Srtcp => 1,
        }
    }

    /// Indices that may have been sealed since the last copy was made.
    const fn margin(self) -> u64 {
        match self {
            Kind::Srtp => 4096,
            Kind::Srtcp => 64,
        }
    }

    /// How many indices a key has (RFC 3711 §9.2).
    const fn limit(self) -> u64 {
        match self {
            Kind::Srtp => 1 << 48,
            Kind::Srtcp => 1 << 31,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Kind::Srtp => 1,
            Kind::Srtcp => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Kind::Srtp),
            2 => Some(Kind::Srtcp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
