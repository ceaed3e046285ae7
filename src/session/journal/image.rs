//! The bytes of an index journal: one header, then records. Both the file that workers write and its copy on
//! disk have this form. Pure: bytes in, values out.
//!
//! All numbers are little endian. Header, 64 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `voxlnidx` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | bytes per record, 32 |
//! | 16 | 8 | number of records, free ones included |
//! | 24 | 4 | run: counts the starts of the gateway |
//! | 28 | 4 | flags: 1 = copy (the records' checksum counts), 2 = written by a clean stop |
//! | 32 | 16 | boot id of the machine during that run |
//! | 48 | 8 | checksum of the records; 0 unless this is a copy |
//! | 56 | 8 | checksum of the 56 bytes before |
//!
//! Record, 32 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | fingerprint of the sealing master key |
//! | 16 | 4 | SSRC of the stream |
//! | 20 | 1 | kind: 0 = free, 1 = SRTP, 2 = SRTCP; bit 7 = not settled |
//! | 21 | 3 | the last run that used the key |
//! | 24 | 8 | the first index that cannot have been sealed; 0 = nothing was sealed |

use super::Kind;

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 64;
/// Bytes of a record.
pub(super) const RECORD_LEN: usize = 32;

const MAGIC: [u8; 8] = *b"voxlnidx";
const VERSION: u32 = 1;
const FLAG_COPY: u32 = 1;
const FLAG_CLEAN: u32 = 2;
const UNSETTLED: u8 = 0x80;
/// The largest run number that a record has room for. Later runs count as this one, which only blurs which
/// key was used longest ago.
const MAX_RECORD_RUN: u32 = (1 << 24) - 1;

/// What stands before the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of records, free ones included.
    pub(super) records: u64,
    pub(super) run: u32,
    pub(super) clean: bool,
    pub(super) boot: [u8; 16],
    /// Checksum of the records, of a copy.
    pub(super) checksum: Option<u64>,
}

/// One sealing key of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) fingerprint: [u8; 16],
    pub(super) kind: Kind,
    /// A run took the key and has not said yet that it has finished with it.
    pub(super) unsettled: bool,
    pub(super) run: u32,
    pub(super) ssrc: u32,
    pub(super) reserved_until: u64,
}

/// A parsed file: the header and the records that are not free, in order.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Shorter than a header.
    #[error("it has {0} bytes, fewer than the header's {HEADER_LEN}")]
    Short(usize),
    /// The first bytes are another file's.
    #[error("it does not start with the journal's magic bytes")]
    Magic,
    /// Written by another release.
    #[error("it has format version {0}, this release reads version {VERSION}")]
    Version(u32),
    /// The header does not match its checksum.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// The length disagrees with the number of records.
    #[error("it has {found} bytes where {records} records make {HEADER_LEN} + {records} x {RECORD_LEN}")]
    Length {
        /// Records that the header announces.
        records: u64,
        /// Bytes in the file.
        found: usize,
    },
    /// The records do not match their checksum.
    #[error("the records' checksum is wrong")]
    RecordsChecksum,
    /// A record is of no known kind.
    #[error("record {record} is of the unknown kind {kind}")]
    Kind {
        /// Position from 0.
        record: usize,
        /// The kind byte.
        kind: u8,
    },
    /// An index lies beyond what a key may be used for.
    #[error("record {record} reserves indices up to {index}, beyond the limit of its kind")]
    Index {
        /// Position from 0.
        record: usize,
        /// The first index not reserved.
        index: u64,
    },
    /// Two records are of the same key.
    #[error("record {record} is of a key that an earlier record has")]
    Duplicate {
        /// Position of the later one, from 0.
        record: usize,
    },
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let copy = if self.checksum.is_some() { FLAG_COPY } else { 0 };
        let clean = if self.clean { FLAG_CLEAN } else { 0 };
        let [boot_low, boot_high] = words(&self.boot);
        let mut fields = [
            u64::from_le_bytes(MAGIC),
            pair(VERSION, RECORD_LEN as u32),
            self.records,
            pair(self.run, copy | clean),
            boot_low,
            boot_high,
            self.checksum.unwrap_or(0),
        ]
        .to_vec();
        fields.push(checksum(fields.iter().copied()));
        let mut bytes = [0; HEADER_LEN];
        for (bytes, field) in bytes.as_chunks_mut().0.iter_mut().zip(fields) {
            *bytes = field.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self, Damage> {
        let fields: [u64; HEADER_LEN / 8] = words(bytes);
        let [magic, version, records, run, boot_low, boot_high, records_checksum, own_checksum] = fields;
        if magic.to_le_bytes() != MAGIC {
            return Err(Damage::Magic);
        }
        // The version before the checksum: another version may place the checksum elsewhere.
        if version != pair(VERSION, RECORD_LEN as u32) {
            return Err(Damage::Version(version as u32));
        }
        if own_checksum != checksum(fields.into_iter().take(HEADER_LEN / 8 - 1)) {
            return Err(Damage::HeaderChecksum);
        }
        let flags = (run >> 32) as u32;
        let boot = (u128::from(boot_high) << 64 | u128::from(boot_low)).to_le_bytes();
        Ok(Header {
            records,
            run: run as u32,
            clean: flags & FLAG_CLEAN != 0,
            boot,
            checksum: (flags & FLAG_COPY != 0).then_some(records_checksum),
        })
    }
}

impl Record {
    /// The record as its four words, each as read from memory by a little-endian load.
    pub(super) fn to_words(self) -> [u64; 4] {
        let [low, high] = words(&self.fingerprint);
        [low, high, self.state_word(), self.reserved_until]
    }

    /// The third word: SSRC, kind and run.
    pub(super) fn state_word(&self) -> u64 {
        let kind = self.kind.code() | if self.unsettled { UNSETTLED } else { 0 };
        pair(self.ssrc, self.run.min(MAX_RECORD_RUN) << 8 | u32::from(kind))
    }

    /// The record at position `record`, or `None` if it is free. A record that was being written when the
    /// process died is free, because its kind is written last.
    pub(super) fn from_words(record: usize, fields: [u64; 4]) -> Result<Option<Self>, Damage> {
        let [low, high, state, reserved_until] = fields;
        let code = (state >> 32) as u8;
        if code == 0 {
            return Ok(None);
        }
        let kind = Kind::from_code(code & !UNSETTLED).ok_or(Damage::Kind { record, kind: code })?;
        if reserved_until > kind.limit() {
            return Err(Damage::Index { record, index: reserved_until });
        }
        Ok(Some(Record {
            fingerprint: (u128::from(high) << 64 | u128::from(low)).to_le_bytes(),
            kind,
            unsettled: code & UNSETTLED != 0,
            run: (state >> 40) as u32,
            ssrc: state as u32,
            reserved_until,
        }))
    }

    /// Appends the record's bytes.
    pub(super) fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_words().into_iter().flat_map(u64::to_le_bytes));
    }
}

impl Image {
    /// Reads a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let (header, body) = bytes.split_first_chunk().ok_or(Damage::Short(bytes.len()))?;
        let header = Header::from_bytes(header)?;
        let (chunks, rest) = body.as_chunks::<RECORD_LEN>();
        if !rest.is_empty() || chunks.len() as u64 != header.records {
            return Err(Damage::Length { records: header.records, found: bytes.len() });
        }
        if header.checksum.is_some_and(|expected| expected != records_checksum(body)) {
            return Err(Damage::RecordsChecksum);
        }
        let mut keys = std::collections::HashSet::new();
        let mut records = Vec::new();
        for (position, chunk) in chunks.iter().enumerate() {
            let Some(record) = Record::from_words(position, words(chunk))? else {
                continue;
            };
            if !keys.insert((record.fingerprint, record.kind)) {
                return Err(Damage::Duplicate { record: position });
            }
            records.push(record);
        }
        Ok(Image { header, records })
    }
}

/// A record's third word with the key in use by a stream with this SSRC.
pub(super) const fn unsettled(state: u64, ssrc: u32) -> u64 {
    state >> 32 << 32 | (UNSETTLED as u64) << 32 | ssrc as u64
}

/// A record's third word with the key no longer in use.
pub(super) const fn settled(state: u64) -> u64 {
    state & !((UNSETTLED as u64) << 32)
}

/// The checksum of a copy's records, which are whole.
pub(super) fn records_checksum(body: &[u8]) -> u64 {
    checksum(body.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)))
}

/// FNV-1a over 64-bit words. Each step is a bijection of the state, so no change to a single word goes
/// unnoticed. It guards against accidents only: whoever can write the file can also write the checksum.
fn checksum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |state, word| (state ^ word).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Two 32-bit fields in the order in which they stand in the file.
const fn pair(first: u32, second: u32) -> u64 {
    (second as u64) << 32 | first as u64
}

/// `N` little-endian words; `bytes` holds that many.
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut out = [0; N];
    for (word, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    out
}
