//! Telephone events: DTMF digits and other named events (RFC 4733 §2.3).
//!
//! ```text
//! event (8 bits) | E (1) R (1) volume (6) | duration (16)
//! ```
//!
//! One event report has four bytes; "packing multiple events into one packet" (§2.5.1.5) puts one behind another. All
//! values of volume (0 to 63) and duration have a meaning; zero is the duration of a state that lasts (§2.3.5).

/// Length of an event report in bytes.
pub const EVENT_LEN: usize = 4;
/// The events of DTMF, 0 to 15, which a receiver takes if nothing was said (RFC 4733 §2.4.1).
pub const DTMF: Events = Events([0xffff, 0, 0, 0]);

const END: u8 = 0x80;
const RESERVED: u8 = 0x40;
const VOLUME_MASK: u8 = 0x3f;

/// A set of event codes, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Events([u64; 4]);

impl Events {
    /// No event.
    pub const NONE: Events = Events([0; 4]);

    /// Whether `code` is in the set.
    #[inline]
    pub const fn contains(&self, code: u8) -> bool {
        self.0[(code >> 6) as usize] >> (code & 63) & 1 == 1
    }

    /// The set with `code` in it.
    #[must_use]
    pub const fn with(mut self, code: u8) -> Events {
        self.0[(code >> 6) as usize] |= 1 << (code & 63);
        self
    }
}

/// Why bytes are no event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No report, or a part of one.
    #[error("{actual} bytes are no whole number of telephone events of 4: drop the packet")]
    Length {
        /// Length of the payload in bytes.
        actual: usize,
    },
    /// The reserved bit is set (§2.3.3: "The sender MUST set it to zero").
    #[error("telephone event {event} has its reserved bit set: mend the sender")]
    Reserved {
        /// The event's code.
        event: u8,
    },
    /// An event that was not negotiated (§2.4.1).
    #[error("telephone event {event} was not negotiated: add it to the leg's events, or mend the sender")]
    NotNegotiated {
        /// The event's code.
        event: u8,
    },
}

/// One event report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The event's code.
    pub code: u8,
    /// Whether the event ends with this report.
    pub is_end: bool,
    /// Power of a tone in -dBm0, 0 to 63.
    pub volume: u8,
    /// How long the event lasts so far, in ticks of the RTP clock; 0 is a state.
    pub duration: u16,
}

/// A checked payload.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Takes an RTP payload without padding; `negotiated` are the events that the receiver said it takes.
    ///
    /// # Errors
    /// [`Error`].
    #[inline]
    pub fn new_checked(bytes: &'a [u8], negotiated: &Events) -> Result<Self, Error> {
        let (reports, rest) = bytes.as_chunks::<EVENT_LEN>();
        if reports.is_empty() || !rest.is_empty() {
            return Err(Error::Length { actual: bytes.len() });
        }
        for &[event, flags, ..] in reports {
            if flags & RESERVED != 0 {
                return Err(Error::Reserved { event });
            }
            if !negotiated.contains(event) {
                return Err(Error::NotNegotiated { event });
            }
        }
        Ok(Payload { bytes })
    }

    /// The event reports in order; at least one.
    #[inline]
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> + 'a {
        let (reports, _) = self.bytes.as_chunks::<EVENT_LEN>();
        reports.iter().map(|&[code, flags, high, low]| Event {
            code,
            is_end: flags & END != 0,
            volume: flags & VOLUME_MASK,
            duration: u16::from_be_bytes([high, low]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::random_payloads;

    #[test]
    fn reads_the_reports_in_order() {
        // Digit 5 going on at -10 dBm0 for 100 ms, then digit 6 at its end.
        let bytes = [5, 0x0a, 0x03, 0x20, 6, 0x8a, 0x01, 0x90];
        let payload = Payload::new_checked(&bytes, &DTMF).expect("two digits");
        let event = |code, is_end, duration| Event { code, is_end, volume: 10, duration };
        assert_eq!(payload.events().collect::<Vec<_>>(), [event(5, false, 800), event(6, true, 400)]);
    }

    #[test]
    fn a_length_is_whole_reports() {
        for len in 0..64 {
            let result = Payload::new_checked(&[0; 64][..len], &DTMF).map(|payload| payload.events().len());
            let expected =
                if len > 0 && len % 4 == 0 { Ok(len / 4) } else { Err(Error::Length { actual: len }) };
            assert_eq!(result, expected, "{len}");
        }
    }

    #[test]
    fn every_event_and_flag_byte() {
        let flashes = DTMF.with(16).with(200);
        for code in 0..=255_u8 {
            for flags in 0..=255_u8 {
                let expected = match (flags & 0x40 != 0, code <= 16 || code == 200) {
                    (true, _) => Err(Error::Reserved { event: code }),
                    (_, false) => Err(Error::NotNegotiated { event: code }),
                    _ => Ok(()),
                };
                // As the second report, too: each is looked at.
                let reports = [1, 0, 0, 1, code, flags, 0, 0];
                assert_eq!(Payload::new_checked(&reports[4..], &flashes).map(|_| ()), expected);
                assert_eq!(Payload::new_checked(&reports, &flashes).map(|_| ()), expected);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let all = (0..=255).fold(Events::NONE, Events::with);
        random_payloads(40, 300, &[], |bytes| {
            if let Ok(payload) = Payload::new_checked(bytes, &all) {
                assert_eq!(payload.events().len() * EVENT_LEN, bytes.len());
            }
        });
    }
}
