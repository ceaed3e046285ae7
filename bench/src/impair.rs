//! Traffic that is impaired on purpose: which packets, and what is done to the copies.
//!
//! The shares come from `--impair`; [`super::traffic`] asks for each packet what is to happen to it. Bad
//! packets are copies sent beside the valid packet, so that a valid session must lose nothing whatever
//! their share is; only `drop` and `reorder` touch the valid packets themselves, in ways the network has.

use std::fmt;
use std::str::FromStr;

use super::rng::Rng;

/// The fixed RTP header stays in a truncated copy, so that it is refused for its missing end.
const KEPT_LEN: usize = 12;

/// Most packets of its own stream that overtake a packet held back by `reorder`.
pub const MAX_REORDER_DISTANCE: u64 = 16;

/// One way to impair a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An extra packet, well sealed, of a payload type that was not negotiated.
    BadPayloadType,
    /// An extra copy with another SSRC, sent first.
    BadSsrc,
    /// An extra copy with flipped bits in ciphertext or tag, sent first.
    Corrupt,
    /// A packet index that is never sent: a gap, as if the network had lost the packet.
    Drop,
    /// The valid packet is held back behind 1 to 16 later ones of its stream.
    Reorder,
    /// An extra exact copy, sent last.
    Replay,
    /// An extra copy cut short behind the RTP header, sent first.
    Truncate,
}

impl Kind {
    /// Every kind, in the order of [`Kind::index`].
    pub const ALL: [Kind; 7] = [
        Kind::BadPayloadType,
        Kind::BadSsrc,
        Kind::Corrupt,
        Kind::Drop,
        Kind::Reorder,
        Kind::Replay,
        Kind::Truncate,
    ];

    /// The name in `--impair` and in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::BadPayloadType => "badpt",
            Kind::BadSsrc => "badssrc",
            Kind::Corrupt => "corrupt",
            Kind::Drop => "drop",
            Kind::Reorder => "reorder",
            Kind::Replay => "replay",
            Kind::Truncate => "truncate",
        }
    }

    /// Position in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether only a leg with authentication can tell the impaired packet from a valid one.
    pub const fn needs_authentication(self) -> bool {
        matches!(self, Kind::BadSsrc | Kind::Corrupt | Kind::Replay | Kind::Truncate)
    }
}

/// How many packets in 2^32 each kind impairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shares([u64; Kind::ALL.len()]);

/// Why `--impair` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSharesError {
    /// An entry without `=`.
    #[error("\"{0}\" has no share; write it as corrupt=1%")]
    NoShare(String),
    /// A kind that does not exist.
    #[error("\"{0}\" cannot be impaired; use {names}", names = KindNames)]
    UnknownKind(String),
    /// One kind twice.
    #[error("\"{0}\" is given twice; give it once")]
    Twice(String),
    /// A share that is no number from 0 to 1.
    #[error("\"{0}\" is not a share; use 0% to 100%, or 0 to 1")]
    Share(String),
}

impl Shares {
    /// Whether nothing is impaired.
    pub fn is_none(&self) -> bool {
        self.0 == [0; Kind::ALL.len()]
    }

    /// Whether a packet drawn now is to be impaired in this way. Draws nothing for a share of zero.
    #[inline]
    pub fn draw(&self, kind: Kind, rng: &mut Rng) -> bool {
        let share = self.0[kind.index()];
        share != 0 && rng.next_u64() >> 32 < share
    }
}

impl FromStr for Shares {
    type Err = ParseSharesError;

    /// Reads `corrupt=1%,replay=0.5%,drop=0.001`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut shares = Shares::default();
        let mut given = [false; Kind::ALL.len()];
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, share) =
                entry.split_once('=').ok_or_else(|| ParseSharesError::NoShare(entry.to_owned()))?;
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| kind.name() == name.trim())
                .ok_or_else(|| ParseSharesError::UnknownKind(name.trim().to_owned()))?;
            if std::mem::replace(&mut given[kind.index()], true) {
                return Err(ParseSharesError::Twice(name.trim().to_owned()));
            }
            shares.0[kind.index()] = share_of(share.trim())?;
        }
        Ok(shares)
    }
}

/// Flips one to eight different bits behind the RTP header of an SRTP packet with `header_len` bytes of
/// header. A packet without anything behind it stays as it is.
pub fn corrupt(packet: &mut [u8], header_len: usize, rng: &mut Rng) {
    let Some(body) = packet.get_mut(header_len..).filter(|body| !body.is_empty()) else {
        return;
    };
    let bits = body.len() as u64 * 8;
    // Seven steps of less than a sixteenth each never come round to a bit that was flipped already.
    let (start, step) = (rng.below(bits), rng.below(bits / 16).max(1));
    for flip in 0..=rng.below(8) {
        let bit = (start + flip * step) % bits;
        if let Some(byte) = body.get_mut((bit / 8) as usize) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// To how many bytes a packet of `len` bytes is cut: at least the fixed RTP header is left, at least one
/// byte goes.
pub fn truncated_len(len: usize, rng: &mut Rng) -> usize {
    let kept = KEPT_LEN.min(len.saturating_sub(1));
    kept + rng.below((len - kept) as u64) as usize
}

fn share_of(text: &str) -> Result<u64, ParseSharesError> {
    let refused = || ParseSharesError::Share(text.to_owned());
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map_err(|_| refused())? / unit;
    if !(0.0..=1.0).contains(&share) {
        return Err(refused());
    }
    Ok((share * (1_u64 << 32) as f64).round() as u64)
}

struct KindNames;

impl fmt::Display for KindNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Kind::ALL.map(Kind::name).join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_percent_or_fraction() {
        let shares: Shares = "corrupt=1%, replay=0.5 %,drop=0.25".parse().expect("valid");
        assert_eq!(shares.0[Kind::Corrupt.index()], 42_949_673);
        assert_eq!(shares.0[Kind::Replay.index()], 21_474_836);
        assert_eq!(shares.0[Kind::Drop.index()], 1 << 30);
        assert_eq!(shares.0[Kind::Truncate.index()], 0);
        assert!("".parse::<Shares>().expect("nothing").is_none());
    }

    #[test]
    fn mistakes_name_the_value_and_the_remedy() {
        let error = |text: &str| text.parse::<Shares>().expect_err("a mistake").to_string();
        assert_eq!(error("corrupt"), "\"corrupt\" has no share; write it as corrupt=1%");
        assert_eq!(
            error("lose=1%"),
            "\"lose\" cannot be impaired; use badpt, badssrc, corrupt, drop, reorder, replay, truncate"
        );
        assert_eq!(error("drop=101%"), "\"101%\" is not a share; use 0% to 100%, or 0 to 1");
        assert_eq!(error("drop=NaN"), "\"NaN\" is not a share; use 0% to 100%, or 0 to 1");
        assert_eq!(error("drop=1%,drop=1%"), "\"drop\" is given twice; give it once");
    }

    #[test]
    fn the_drawn_share_is_the_wanted_one() {
        let shares: Shares = "corrupt=1%,replay=100%".parse().expect("valid");
        let mut rng = Rng::new(3);
        let corrupted = (0..1_000_000).filter(|_| shares.draw(Kind::Corrupt, &mut rng)).count();
        assert!((9_500..10_500).contains(&corrupted), "{corrupted} of a million");
        assert!((0..1_000).all(|_| shares.draw(Kind::Replay, &mut rng)));
        assert!((0..1_000).all(|_| !shares.draw(Kind::Drop, &mut rng)));
    }

    #[test]
    fn a_corrupted_copy_differs_behind_the_header_only() {
        let mut rng = Rng::new(11);
        for len in (28..60).chain([212, 1_200]) {
            for _ in 0..200 {
                let mut packet = vec![0_u8; len];
                corrupt(&mut packet, 12, &mut rng);
                let flipped: u32 = packet.iter().map(|byte| byte.count_ones()).sum();
                assert!(packet[..12].iter().all(|byte| *byte == 0));
                assert!((1..=8).contains(&flipped), "{flipped} bits of {len} bytes");
            }
        }
        let mut header_only = [5; 12];
        corrupt(&mut header_only, 12, &mut rng);
        assert_eq!(header_only, [5; 12]);
    }

    #[test]
    fn a_truncated_copy_is_shorter_and_keeps_the_fixed_header() {
        let mut rng = Rng::new(5);
        let lengths: Vec<usize> = (0..5_000).map(|_| truncated_len(40, &mut rng)).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&12), Some(&39)));
        assert_eq!(truncated_len(13, &mut rng), 12);
    }
}
