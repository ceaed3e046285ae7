//! A file that is being written, under its partial name.
//!
//! What is added is whole: a block, a page, a packet's samples. It is collected and written together, and a write that
//! fails half way is undone, so the file ends with something whole at any time.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::counters::{Loss, TapCounters};
use super::directory::{Directory, loss};
use super::finisher::Finish;
use super::output::Disk;
use super::recover;

/// Octets that are written together.
const CHUNK: usize = 64 * 1024;

/// Records that are lost, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) reason: Loss,
    pub(super) records: u64,
}

#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    name: String,
    buffer: Vec<u8>,
    /// Records that are in `buffer`.
    records: u64,
    written: u64,
}

impl PartialFile {
    /// Begins the file `name`.
    pub(super) fn create(directory: &mut Directory, name: String) -> Result<Self, Loss> {
        let file = directory.create(&name)?;
        Ok(PartialFile { file, name, buffer: Vec::new(), records: 0, written: 0 })
    }

    /// Adds what `records` records became. After an error nothing more may be added.
    pub(super) fn append(
        &mut self,
        directory: &mut Directory,
        counters: &TapCounters,
        octets: &[u8],
        records: u64,
    ) -> Result<(), Lost> {
        let has = self.written + self.buffer.len() as u64;
        directory.reserve(has, octets.len() as u64).map_err(|reason| Lost { reason, records })?;
        self.buffer.extend_from_slice(octets);
        self.records += records;
        if self.buffer.len() >= CHUNK { self.flush(directory, counters) } else { Ok(()) }
    }

    /// Writes what was collected.
    pub(super) fn flush(&mut self, directory: &mut Directory, counters: &TapCounters) -> Result<(), Lost> {
        let len = self.buffer.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let result = if directory.has_room(len) {
            self.file.write_all_at(&self.buffer, self.written).map_err(loss)
        } else {
            Err(Loss::DiskFull)
        };
        self.buffer.clear();
        let records = std::mem::take(&mut self.records);
        match result {
            Ok(()) => {
                self.written += len;
                counters.bytes.add(len);
                Ok(())
            }
            Err(reason) => {
                // Where even that fails, the file is completed from its length at the next start.
                let _ = self.file.set_len(self.written);
                directory.release(len);
                Err(Lost { reason, records })
            }
        }
    }

    /// Ends the file: `trailer`, in which `records` records are, at its end, `header` over its start. The finisher does the
    /// rest.
    pub(super) fn finish(
        mut self,
        disk: &mut Disk<'_>,
        (trailer, records): (&[u8], u64),
        header: Option<&[u8]>,
    ) -> Result<(), Lost> {
        self.buffer.extend_from_slice(trailer);
        self.records += records;
        let outcome = self.flush(disk.directory, disk.counters);
        if outcome.is_err() {
            // The header says more than there is.
            let _ = self.cut(disk);
            return outcome;
        }
        if let Some(header) = header
            && self.written > 0
            && let Err(error) = self.file.write_all_at(header, 0)
        {
            tracing::warn!(file = %self.name, %error, "the header of a tap file cannot be completed");
        }
        self.hand_over(disk);
        Ok(())
    }

    /// Ends the file where it is, because what follows cannot be added.
    pub(super) fn cut(mut self, disk: &mut Disk<'_>) -> Result<(), Lost> {
        let outcome = self.flush(disk.directory, disk.counters);
        if self.written > 0
            && let Err(error) = recover::complete(&self.file, &self.name, self.written)
        {
            tracing::warn!(file = %self.name, %error, "a tap file cannot be completed");
        }
        self.hand_over(disk);
        outcome
    }

    fn hand_over(self, disk: &mut Disk<'_>) {
        if self.written == 0 {
            disk.directory.remove(&self.name);
            return;
        }
        disk.finisher.finish(Finish {
            directory: std::sync::Arc::clone(&disk.directory.fd),
            file: self.file,
            name: self.name,
        });
    }
}
