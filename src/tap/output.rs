//! An encoder and the files that it fills, one after the other.
//!
//! A file that has no room for the next record ends, and the next of the same name goes on in its place with an encoder
//! of its own, so that each can be read by itself. What can be written nowhere is counted.

use super::counters::{Loss, TapCounters};
use super::directory::Directory;
use super::finisher::Finisher;
use super::partial_file::{Lost, PartialFile};

/// How long no file is tried after one could not be begun or written, in nanoseconds.
const RETRY_NS: u64 = 5_000_000_000;
/// Files of one kind that a session may have besides those that go on where a full one ended: a sender that changes its
/// codec with each packet fills no directory.
const MOST_PARTS: u32 = 32;

/// What the encoders write through.
pub(super) struct Disk<'d> {
    pub(super) directory: &'d mut Directory,
    pub(super) finisher: &'d Finisher,
    pub(super) counters: &'d TapCounters,
    /// Of the recorder's own clock.
    pub(super) now_ns: u64,
}

/// Records in, octets of one file out.
pub(super) trait Encoder {
    /// What is added.
    type Record<'r>;
    /// Octets that the file has at most if it ends with `record`.
    fn len_with(&self, record: &Self::Record<'_>) -> u64;
    /// Adds a record; what of the file is ready goes to `out`.
    fn add(&mut self, record: &Self::Record<'_>, out: &mut Vec<u8>);
    /// Records of which nothing is out yet although something of a later one may be.
    fn held(&self) -> u64 {
        0
    }
    /// What ends the file: octets at its end, octets over its start.
    fn end(&mut self) -> (Vec<u8>, Option<Vec<u8>>);
}

/// An encoder and the file that it fills, from the first record on.
pub(super) struct Output<E> {
    name: String,
    open: Option<(E, PartialFile)>,
    /// Why there is none, and until when none is tried.
    closed: Option<(Loss, u64)>,
    /// Files so far, and those of them that go on where a full one ended.
    parts: u32,
    turns: u32,
    /// The next one goes on.
    is_turning: bool,
    /// Records that the encoder has, and the file has not.
    held: u64,
}

impl<E: Encoder> Output<E> {
    pub(super) fn new(name: String) -> Self {
        Output { name, open: None, closed: None, parts: 0, turns: 0, is_turning: false, held: 0 }
    }

    /// The encoder of the file that is open.
    pub(super) fn encoder(&self) -> Option<&E> {
        self.open.as_ref().map(|(encoder, _)| encoder)
    }

    /// Whether a file is open that would be too long with `record`.
    pub(super) fn is_full_for(&self, record: &E::Record<'_>, disk: &Disk<'_>) -> bool {
        self.encoder().is_some_and(|encoder| encoder.len_with(record) > disk.directory.file_limit())
    }

    /// Ends the file because it is full. The next one goes on.
    pub(super) fn turn(&mut self, disk: &mut Disk<'_>) {
        self.finish(disk);
        self.is_turning = true;
    }

    /// Encodes one record and adds it, to another file if this one is full, or counts it as lost.
    pub(super) fn write(
        &mut self,
        disk: &mut Disk<'_>,
        extension: &str,
        record: &E::Record<'_>,
        make: impl FnOnce(u32) -> Option<E>,
    ) {
        if self.is_full_for(record, disk) {
            self.turn(disk);
        }
        if self.open.is_none()
            && let Err(reason) = self.begin(disk, extension, record, make)
        {
            disk.counters.count_lost(reason, 1);
            return;
        }
        let Some((encoder, file)) = &mut self.open else { return };
        let mut octets = Vec::new();
        encoder.add(record, &mut octets);
        self.held += 1;
        if octets.is_empty() {
            return;
        }
        let records = self.held - encoder.held().min(self.held);
        self.held -= records;
        if let Err(lost) = file.append(disk.directory, disk.counters, &octets, records) {
            self.give_up(lost, disk);
        }
    }

    fn begin(
        &mut self,
        disk: &mut Disk<'_>,
        extension: &str,
        record: &E::Record<'_>,
        make: impl FnOnce(u32) -> Option<E>,
    ) -> Result<(), Loss> {
        if let Some((reason, until)) = self.closed
            && disk.now_ns < until
        {
            return Err(reason);
        }
        if !self.is_turning && self.parts - self.turns >= MOST_PARTS {
            return Err(Loss::FileCount);
        }
        let name = match self.parts {
            0 => format!("{}.{extension}", self.name),
            part => format!("{}-{}.{extension}", self.name, part + 1),
        };
        let encoder = make(self.parts).ok_or(Loss::WriteError)?;
        if encoder.len_with(record) > disk.directory.file_limit() {
            return Err(Loss::FileLimit);
        }
        match PartialFile::create(disk.directory, name) {
            Ok(file) => {
                disk.counters.files_begun.add(1);
                self.parts += 1;
                self.turns += u32::from(std::mem::take(&mut self.is_turning));
                self.closed = None;
                self.open = Some((encoder, file));
                Ok(())
            }
            Err(reason) => {
                self.closed = Some((reason, disk.now_ns + RETRY_NS));
                Err(reason)
            }
        }
    }

    /// Writes what was collected.
    pub(super) fn flush(&mut self, disk: &mut Disk<'_>) {
        if let Some((_, file)) = &mut self.open
            && let Err(lost) = file.flush(disk.directory, disk.counters)
        {
            self.give_up(lost, disk);
        }
    }

    /// The file ends here, and what follows is lost until another is tried.
    fn give_up(&mut self, lost: Lost, disk: &mut Disk<'_>) {
        tracing::warn!(file = %self.name, reason = lost.reason.label(), "a tap file ends early");
        self.closed = Some((lost.reason, disk.now_ns + RETRY_NS));
        disk.counters.count_lost(lost.reason, lost.records + std::mem::take(&mut self.held));
        let Some((_, file)) = self.open.take() else { return };
        if let Err(lost) = file.cut(disk) {
            disk.counters.count_lost(lost.reason, lost.records);
        }
    }

    /// Ends the file.
    pub(super) fn finish(&mut self, disk: &mut Disk<'_>) {
        let Some((mut encoder, file)) = self.open.take() else { return };
        let (trailer, header) = encoder.end();
        let trailer = (&trailer[..], std::mem::take(&mut self.held));
        if let Err(lost) = file.finish(disk, trailer, header.as_deref()) {
            disk.counters.count_lost(lost.reason, lost.records);
        }
    }
}
