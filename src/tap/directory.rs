//! The directory that the tap writes into, and the bounds on what it may hold.
//!
//! It belongs to the gateway's user alone (mode 0700), and so do its files (0600). Everything in it is opened by a name
//! relative to the directory's descriptor and without following links, and names are made from few characters only.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use super::counters::Loss;
use super::recover;

/// End of the name of a file that is being written.
pub(super) const PARTIAL: &str = ".partial";

/// How long a directory that was found full is believed to be.
pub(super) const SURVEY: Duration = Duration::from_secs(2);

/// What the tap may take. Reaching a bound loses tap data, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one file.
    pub file_bytes: u64,
    /// Octets of all files in the directory, those of earlier runs included.
    pub total_bytes: u64,
    /// Files in the directory.
    pub files: u64,
    /// Octets of the disk that stay free.
    pub free_bytes: u64,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It does not exist and cannot be made, or cannot be opened or read.
    #[error(
        "[tap] directory {path}: {reason}; give a directory that the gateway's user can make and write, \
         and no symbolic link"
    )]
    Io {
        /// The path.
        path: String,
        /// What the system says.
        reason: io::Error,
    },
    /// Others than its owner have access, or the owner is somebody else.
    #[error(
        "[tap] directory {path} belongs to user {owner} and has mode {mode:03o}, and opened voice must be for the \
         gateway's user {user} alone: chown and chmod 700 it, or give another one"
    )]
    Access {
        /// The path.
        path: String,
        /// Its owner's user id.
        owner: u32,
        /// Its mode's permission bits.
        mode: u32,
        /// The gateway's user id.
        user: u32,
    },
}

/// The open directory.
#[derive(Debug)]
pub struct Directory {
    pub(super) fd: Arc<OwnedFd>,
    limits: Limits,
    files: u64,
    bytes: u64,
    /// When they were last counted.
    pub(super) surveyed: Instant,
    /// Incomplete files of an earlier run that were completed.
    pub(super) recovered: u64,
}

impl Directory {
    /// Opens `path`, makes it if it is not there, and completes what an earlier run left incomplete.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(path: &Path, limits: Limits) -> Result<Self, DirectoryError> {
        let failed = |reason: io::Error| DirectoryError::Io { path: path.display().to_string(), reason };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        // A slash at the end would follow a link.
        let path: PathBuf = path.components().collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let directory = File::from(fd);
        let found = directory.metadata().map_err(failed)?;
        let (mode, user) = (found.mode() & 0o777, rustix::process::geteuid().as_raw());
        if mode & 0o077 != 0 || found.uid() != user {
            let path = path.display().to_string();
            return Err(DirectoryError::Access { path, owner: found.uid(), mode, user });
        }
        let fd = Arc::new(OwnedFd::from(directory));
        let recovered = recover::all(&fd).map_err(failed)?;
        let mut directory = Directory { fd, limits, files: 0, bytes: 0, surveyed: Instant::now(), recovered };
        directory.survey().map_err(failed)?;
        Ok(directory)
    }

    /// Counts what is there. An error leaves the counts as they were.
    fn survey(&mut self) -> io::Result<()> {
        self.surveyed = Instant::now();
        let (mut files, mut bytes) = (0, 0);
        for name in names(&self.fd)? {
            let Ok(found) = fs::statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                files += 1;
                bytes += u64::try_from(found.st_size).unwrap_or(0);
            }
        }
        (self.files, self.bytes) = (files, bytes);
        Ok(())
    }

    /// Makes the file `name` under its partial name, for writing.
    pub(super) fn create(&mut self, name: &str) -> Result<File, Loss> {
        let is_full = |directory: &Self| {
            directory.files >= directory.limits.files || directory.bytes >= directory.limits.total_bytes
        };
        // Somebody may have moved files away.
        if is_full(self) && self.surveyed.elapsed() >= SURVEY {
            let _ = self.survey();
        }
        if self.files >= self.limits.files {
            return Err(Loss::FileCount);
        }
        if self.bytes >= self.limits.total_bytes {
            return Err(Loss::TotalLimit);
        }
        if !self.has_room(0) {
            return Err(Loss::DiskFull);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = fs::openat(&self.fd, format!("{name}{PARTIAL}"), flags, mode)
            .map_err(|error| loss(error.into()))?;
        self.files += 1;
        Ok(File::from(fd))
    }

    /// Takes a file back that nothing was written to.
    pub(super) fn remove(&mut self, name: &str) {
        if fs::unlinkat(&self.fd, format!("{name}{PARTIAL}"), AtFlags::empty()).is_ok() {
            self.files = self.files.saturating_sub(1);
        }
    }

    /// Octets that a file may have.
    pub(super) fn file_limit(&self) -> u64 {
        self.limits.file_bytes
    }

    /// Reserves octets for a file that has `has` of them.
    pub(super) fn reserve(&mut self, has: u64, more: u64) -> Result<(), Loss> {
        if has + more > self.limits.file_bytes {
            return Err(Loss::FileLimit);
        }
        if self.bytes + more > self.limits.total_bytes {
            return Err(Loss::TotalLimit);
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives octets back that were not written.
    pub(super) fn release(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether the disk has room for so many octets more.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        // A file system that does not say is found full when it is written to.
        fs::fstatvfs(&self.fd)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= self.limits.free_bytes + bytes)
    }
}

/// Names in a directory, but for those that are no text.
pub(super) fn names(fd: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(fd)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What an error of the file system loses.
pub(super) fn loss(error: io::Error) -> Loss {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Loss::DiskFull,
        _ => Loss::WriteError,
    }
}

/// A session id as the start of a file name: whatever is not a letter, digit, `-` or `_` of ASCII becomes `_`, so that no
/// id leads out of the directory, hides a file or upsets a shell.
pub(super) fn sanitized(id: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = id.chars().take(64).map(keep).collect();
    // An option to whoever forgets `--`.
    if name.starts_with('-') { format!("_{name}") } else { name }
}

/// `20260131T235959Z`.
pub(super) fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar from days since 1970, in eras of 400 years that start on 1 March.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_harmless_names() {
        for (id, name) in [
            ("call-1", "call-1"),
            ("../../etc/passwd", "______etc_passwd"),
            ("-rf", "_-rf"),
            ("a b\u{e9}$(x)", "a_b___x_"),
            (".hidden", "_hidden"),
        ] {
            assert_eq!(sanitized(id), name);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_767_225_600, "20260101T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
    }
}
