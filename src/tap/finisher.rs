//! The end of a file: onto the disk, then under its final name. A thread of its own, because that can take long and the
//! recorder must not stand still meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::fs::{self, RenameFlags};

use super::counters::TapCounters;
use super::directory::PARTIAL;

/// From so many files on they are put onto the disk together, with everything else on it.
const SYNC_ALL: usize = 16;
/// Names that are tried for one file.
const NAMES: u32 = 100;

/// A file that is complete but for this.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) file: File,
    pub(super) name: String,
}

/// The thread's queue.
#[derive(Debug)]
pub(super) struct Finisher {
    queue: Sender<Finish>,
    thread: Option<JoinHandle<()>>,
}

impl Finisher {
    /// Starts the thread, which inherits this one's cores and priority.
    pub(super) fn start(counters: Arc<TapCounters>) -> io::Result<Self> {
        let (queue, files) = channel();
        let thread = std::thread::Builder::new()
            .name("tap-finish".to_owned())
            .spawn(move || run(&files, &counters))?;
        Ok(Finisher { queue, thread: Some(thread) })
    }

    pub(super) fn finish(&self, file: Finish) {
        // It ends with this queue, not before.
        let _ = self.queue.send(file);
    }

    /// Waits until all files are where they belong.
    pub(super) fn join(self) {
        let Finisher { queue, thread } = self;
        drop(queue);
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that completes tap files has ended by a panic");
        }
    }
}

fn run(files: &Receiver<Finish>, counters: &TapCounters) {
    while let Ok(first) = files.recv() {
        let batch: Vec<Finish> = std::iter::once(first).chain(files.try_iter().take(1_000)).collect();
        let synced = batch.len() >= SYNC_ALL && fs::syncfs(&*batch[0].directory).is_ok();
        for finish in &batch {
            match complete(finish, synced) {
                Ok(()) => counters.files_completed.add(1),
                Err(error) => {
                    counters.files_failed.add(1);
                    tracing::error!(file = %finish.name, %error, "a tap file cannot be completed");
                }
            }
        }
        // The names, too, are on the disk.
        let _ = fs::fsync(&*batch[0].directory);
    }
}

fn complete(finish: &Finish, is_synced: bool) -> io::Result<()> {
    if !is_synced {
        finish.file.sync_all()?;
    }
    rename(&finish.directory, &finish.name)
}

/// From its partial name to its own, or to one like it if that is taken: nothing is ever replaced.
pub(super) fn rename(directory: &OwnedFd, name: &str) -> io::Result<()> {
    let partial = format!("{name}{PARTIAL}");
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    for number in 0..NAMES {
        let to = if number == 0 { name.to_owned() } else { format!("{stem}~{number}.{extension}") };
        match fs::renameat_with(directory, &*partial, directory, &*to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => {}
            result => return Ok(result?),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
