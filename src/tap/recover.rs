//! What a gateway that was killed left behind: partial files, each cut to what is whole and given its final name. What
//! holds nothing is removed; what is no file of ours is set aside.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use super::directory::{PARTIAL, names};
use super::{finisher, wav};

/// End of the name of what cannot be completed.
const SET_ASIDE: &str = ".set-aside";

/// Looks at everything that is partial. Returns how many files were completed.
pub(super) fn all(directory: &OwnedFd) -> io::Result<u64> {
    let mut completed = 0;
    for partial in names(directory)? {
        let Some(name) = partial.strip_suffix(PARTIAL) else { continue };
        match one(directory, &partial, name) {
            Ok(Some(len)) => {
                completed += 1;
                tracing::warn!(file = %name, bytes = len, "a tap file of an earlier run is completed");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(file = %partial, %error, "a tap file of an earlier run is set aside");
                let aside = format!("{name}{SET_ASIDE}");
                let _ =
                    fs::renameat_with(directory, &*partial, directory, &*aside, fs::RenameFlags::NOREPLACE);
            }
        }
    }
    Ok(completed)
}

/// `None`: it held nothing and is gone.
fn one(directory: &OwnedFd, partial: &str, name: &str) -> io::Result<Option<u64>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(directory, partial, flags, Mode::empty())?);
    let found = fs::fstat(file.as_fd())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("no regular file"));
    }
    let len = found.st_size as u64;
    let whole = complete(&file, name, len)?;
    if whole == 0 {
        if len > 0 {
            return Err(io::Error::other("nothing whole in it"));
        }
        fs::unlinkat(directory, partial, AtFlags::empty())?;
        return Ok(None);
    }
    file.set_len(whole)?;
    file.sync_all()?;
    finisher::rename(directory, name)?;
    Ok(Some(whole))
}

/// Makes the file with that name, and with `len` octets, say what it holds; how many octets of it are whole then.
pub(super) fn complete(file: &File, name: &str, len: u64) -> io::Result<u64> {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("pcapng") => whole_units(file, len, pcapng_block),
        Some("ogg") => whole_units(file, len, ogg_page),
        Some("wav") => complete_wav(file, len),
        _ => Err(io::Error::other("no name of the tap")),
    }
}

/// How many octets at the start of the file are whole units, whose lengths `unit` reads.
fn whole_units(
    file: &File,
    len: u64,
    unit: impl Fn(&mut BufReader<&File>) -> io::Result<u64>,
) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut whole = 0;
    loop {
        match unit(&mut reader) {
            Ok(unit) if whole + unit <= len => whole += unit,
            Ok(_) => return Ok(whole),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(whole),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(whole),
            Err(error) => return Err(error),
        }
    }
}

/// A block of a pcapng file: type, length, body, length.
fn pcapng_block(reader: &mut BufReader<&File>) -> io::Result<u64> {
    let mut word = [0; 4];
    reader.read_exact(&mut word)?;
    reader.read_exact(&mut word)?;
    let len = u32::from_le_bytes(word);
    if len < 12 || !len.is_multiple_of(4) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    reader.seek_relative(i64::from(len) - 12)?;
    reader.read_exact(&mut word)?;
    if u32::from_le_bytes(word) != len {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(u64::from(len))
}

/// A page of an Ogg file (RFC 3533 §6).
fn ogg_page(reader: &mut BufReader<&File>) -> io::Result<u64> {
    let mut header = [0; 27];
    reader.read_exact(&mut header)?;
    if !header.starts_with(b"OggS") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut lacing = vec![0; usize::from(header[26])];
    reader.read_exact(&mut lacing)?;
    let mut body = vec![0; lacing.iter().map(|&len| usize::from(len)).sum()];
    reader.read_exact(&mut body)?;
    Ok((header.len() + lacing.len() + body.len()) as u64)
}

/// Writes the lengths that were not known before.
fn complete_wav(file: &File, len: u64) -> io::Result<u64> {
    let mut header = vec![0; 64.min(len as usize)];
    file.read_exact_at(&mut header, 0)?;
    let Some((header, whole, padding)) = wav::completed_header(&header, len) else { return Ok(0) };
    file.set_len(whole)?;
    file.write_all_at(&vec![0; padding], whole)?;
    file.write_all_at(&header, 0)?;
    Ok(whole + padding as u64)
}
