//! The journal's files: locking them, choosing the one to resume from, and replacing them atomically.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::image::{Header, Image, RECORD_LEN, Record};
use crate::dpdk::{SharedMemory, is_memory_backed};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the new run starts from: every key with at least one index used, settled.
pub(super) struct Recovered {
    pub(super) run: u32,
    pub(super) records: Vec<Record>,
}

/// The id of this boot of the machine.
pub(super) fn boot_id() -> Result<[u8; 16], JournalError> {
    let text = std::fs::read_to_string(BOOT_ID).map_err(failed("read", Path::new(BOOT_ID)))?;
    let digits = text.trim().replace('-', "");
    match u128::from_str_radix(&digits, 16) {
        Ok(id) if digits.len() == 32 => Ok(id.to_be_bytes()),
        _ => Err(JournalError::BootId { path: BOOT_ID, found: text }),
    }
}

/// Creates a directory for the gateway's eyes only, if it is missing.
pub(super) fn ensure_directory(path: &Path) -> Result<(), JournalError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|reason| JournalError::Directory { path: path.to_owned(), reason })
}

/// Takes the lock of this gateway's journal; it is released when the file is closed, also by a kill. The lock
/// has a file of its own that is never replaced, so two processes cannot hold locks on different files.
pub(super) fn lock(runtime_dir: &Path, gateway: &str) -> Result<File, JournalError> {
    ensure_directory(runtime_dir)?;
    let directory = File::open(runtime_dir).map_err(failed("open", runtime_dir))?;
    if !is_memory_backed(&directory).map_err(failed("examine", runtime_dir))? {
        return Err(JournalError::NotInMemory(runtime_dir.to_owned()));
    }
    let path = runtime_dir.join(format!("{gateway}.indices.lock"));
    let file = create_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse(path)),
        Err(TryLockError::Error(reason)) => Err(failed("lock", &path)(reason)),
    }
}

/// Whether two paths lead to one directory.
pub(super) fn is_same_directory(one: &Path, other: &Path) -> Result<bool, JournalError> {
    let identity = |path: &Path| match std::fs::metadata(path) {
        Ok(metadata) => Ok((metadata.dev(), metadata.ino())),
        Err(reason) => Err(failed("examine", path)(reason)),
    };
    Ok(identity(one)? == identity(other)?)
}

/// Reads what earlier runs left.
///
/// The mapped file of this boot is exact, and so is the copy of a clean stop; every key in another file goes on
/// a margin later. Where there are both files, a key goes on after what either says, and an inexact file that
/// is not the newer one needs no margin: the newer was made from it. The copy can be the newer one, for the
/// gateway may have run with another runtime directory in between.
pub(super) fn recover(path: &Path, copy: Option<&Path>, boot: [u8; 16]) -> Result<Recovered, JournalError> {
    let mapped = read(path)?;
    let copied = copy.map(read).transpose()?.flatten();
    let run = |image: &Option<Image>| image.as_ref().map_or(0, |image| image.header.run);
    let (mapped_run, copied_run) = (run(&mapped), run(&copied));

    let mut records: Vec<Record> = Vec::new();
    let mut positions = HashMap::new();
    let mut merge = |image: Image, exact: bool| {
        for mut record in image.records {
            if record.reserved_until == 0 {
                continue;
            }
            record.unsettled = false;
            if !exact {
                let raised = record.reserved_until + record.kind.margin();
                record.reserved_until = raised.min(record.kind.limit());
            }
            let position = *positions.entry((record.fingerprint, record.kind)).or_insert(records.len());
            match records.get_mut(position) {
                Some(earlier) if record.reserved_until > earlier.reserved_until => *earlier = record,
                Some(_) => {}
                None => records.push(record),
            }
        }
    };
    let same_boot = mapped.as_ref().is_some_and(|image| image.header.boot == boot);
    if let Some(image) = mapped {
        merge(image, same_boot || copied_run >= mapped_run);
    }
    if let Some(image) = copied {
        let exact = image.header.clean || (same_boot && mapped_run >= copied_run);
        merge(image, exact);
    }
    Ok(Recovered { run: mapped_run.max(copied_run).saturating_add(1), records })
}

/// Replaces the mapped file by a new one with these records, and free ones at the other places, and maps it.
pub(super) fn create(
    path: &Path,
    header: Header,
    records: &[Option<Record>],
) -> Result<SharedMemory, JournalError> {
    let mut bytes = header.to_bytes().to_vec();
    for record in records {
        match record {
            Some(record) => record.append_to(&mut bytes),
            None => bytes.resize(bytes.len() + RECORD_LEN, 0),
        }
    }
    let free = header.records.saturating_sub(records.len() as u64).saturating_mul(RECORD_LEN as u64);
    let file = write_new(path, |file| {
        // Written, not only sized: a full file system must say so here, not kill a worker with SIGBUS.
        let mut file = BufWriter::new(file);
        file.write_all(&bytes)?;
        io::copy(&mut io::repeat(0).take(free), &mut file)?;
        file.flush()
    })?;
    let memory = SharedMemory::map(&file).map_err(failed("map", &temporary(path)))?;
    std::fs::rename(temporary(path), path).map_err(failed("replace", path))?;
    Ok(memory)
}

/// Replaces a file on disk. When this returns, the new one survives a power cut.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    write_new(path, |mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    })?;
    std::fs::rename(temporary(path), path).map_err(failed("replace", path))?;
    // Without this the name may still mean the old file after a power cut.
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

/// The file's contents, or `None` if there is no file.
fn read(path: &Path) -> Result<Option<Image>, JournalError> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    match file.and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(failed("read", path)(reason)),
    }
    match Image::parse(&bytes) {
        Ok(image) => Ok(Some(image)),
        Err(damage) => Err(JournalError::Damaged { path: path.to_owned(), damage }),
    }
}

/// Writes a file under its temporary name; leaves nothing behind if that fails.
fn write_new(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> Result<File, JournalError> {
    let temporary = temporary(path);
    let file = create_private(&temporary)?;
    if let Err(reason) = file.set_len(0).and_then(|()| write(&file)) {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        return Err(failed("write", &temporary)(reason));
    }
    Ok(file)
}

/// Opens a file for reading and writing that its owner alone can open, whatever the umask and the past.
fn create_private(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("create", path))?;
    file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(failed("restrict", path))?;
    Ok(file)
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("indices.new")
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |reason| JournalError::File { operation, path, reason }
}
