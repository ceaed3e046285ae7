//! Comfort noise (RFC 3389 §3): a noise level, then reflection coefficients of its spectrum.
//!
//! ```text
//! 0 | level (7 bits) | N1 (8 bits) | ... | NM
//! ```

/// The most coefficients taken: RFC 3389 names no bound, encoders use 10 to 12, and a receiver may leave higher orders
/// out (§3.2), so what goes far beyond is not noise.
pub const MAX_ORDER: usize = 32;

/// The first bit of the level, which "is unused and always set to 0" (§3.1).
const UNUSED: u8 = 0x80;
/// §3.2: "N=255 is reserved for future use".
const RESERVED: u8 = 255;

/// Why bytes are no comfort noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No level, or more than [`MAX_ORDER`] coefficients.
    #[error("{actual} bytes are no comfort noise of 1 to 33: drop the packet")]
    Length {
        /// Length of the payload in bytes.
        actual: usize,
    },
    /// The level's first bit is set: a level of 128 or more.
    #[error("comfort noise level {actual} where 0 to 127 exist: drop the packet")]
    Level {
        /// The level found.
        actual: u8,
    },
    /// A coefficient of 255.
    #[error("reflection coefficient {number} of comfort noise is 255, which is reserved: drop the packet")]
    Coefficient {
        /// The coefficient, from 1.
        number: usize,
    },
}

/// A checked payload.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    level: u8,
    coefficients: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Takes an RTP payload without padding.
    ///
    /// # Errors
    /// [`Error`].
    #[inline]
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Error> {
        let (&level, coefficients) = bytes.split_first().ok_or(Error::Length { actual: 0 })?;
        if coefficients.len() > MAX_ORDER {
            return Err(Error::Length { actual: bytes.len() });
        }
        if level & UNUSED != 0 {
            return Err(Error::Level { actual: level });
        }
        match coefficients.iter().position(|&coefficient| coefficient == RESERVED) {
            Some(position) => Err(Error::Coefficient { number: position + 1 }),
            None => Ok(Payload { level, coefficients }),
        }
    }

    /// The noise level in -dBov, 0 to 127.
    #[inline]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The quantized reflection coefficients, 0 to 254 each; as many as the model's order.
    #[inline]
    pub fn coefficients(&self) -> &'a [u8] {
        self.coefficients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::random_payloads;

    #[test]
    fn reads_level_and_coefficients() {
        let payload = Payload::new_checked(&[78, 127, 0, 254]).expect("noise of order 3");
        assert_eq!((payload.level(), payload.coefficients()), (78, &[127, 0, 254][..]));
        assert_eq!(Payload::new_checked(&[127]).map(|payload| payload.coefficients().len()), Ok(0));
    }

    #[test]
    fn refuses_what_the_rfc_does_not_have() {
        let parse = |bytes: &[u8]| Payload::new_checked(bytes).map(|_| ());
        for len in 0..64 {
            let expected = if (1..=33).contains(&len) { Ok(()) } else { Err(Error::Length { actual: len }) };
            assert_eq!(parse(&[64; 64][..len]), expected, "{len}");
        }
        for level in 0..=255 {
            let expected = if level < 128 { Ok(()) } else { Err(Error::Level { actual: level }) };
            assert_eq!(parse(&[level, 1]), expected);
        }
        assert_eq!(parse(&[1, 2, 255]), Err(Error::Coefficient { number: 2 }));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        random_payloads(40, 300, &[&[5]], |bytes| {
            if let Ok(payload) = Payload::new_checked(bytes) {
                assert!(payload.level() < 128 && payload.coefficients().len() + 1 == bytes.len());
            }
        });
    }
}
