//! Tests of the SRTP contexts against vectors, a slow reference and hostile input, and what they share.
//!
//! Whatever depends on the cryptography is written once as a function over [`Provider`](super::Provider) and run
//! for each provider, and where it takes one for each suite, by the macros below. A new provider is one more block in
//! each of them.

mod counter_hmac;
mod differential;
mod kdf;
mod lifetime;
mod malformed;
mod master_key;
mod model;
mod rtcp;
mod rtp;
mod secrecy;
mod self_test;
mod vectors;
mod wycheproof;

use std::io::Write;

use super::{IpsecMbProvider, MasterKey, PacketIndex, Provider, RtpOutbound, Suite};

/// Octets of the RTP headers that the tests make.
const RTP_HEADER_LEN: usize = 12;

/// Whether intel-ipsec-mb can be tested on this machine. Where not, says so past the test runner's capture.
pub(crate) fn has_ipsec_mb(test: &str) -> bool {
    let available = IpsecMbProvider::is_available();
    if let Err(error) = &available {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {error}");
    }
    available.is_ok()
}

/// Makes a `#[test]` for each provider out of functions generic over it.
macro_rules! for_each_provider {
    ($($test:ident),+ $(,)?) => {
        mod aes_gcm {
            $(
                #[test]
                fn $test() {
                    super::$test::<crate::srtp::AesGcmProvider>();
                }
            )+
        }
        mod ipsec_mb {
            $(
                #[test]
                fn $test() {
                    if crate::srtp::tests::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                        super::$test::<crate::srtp::IpsecMbProvider>();
                    }
                }
            )+
        }
    };
}
use for_each_provider;

/// The same out of functions that take a suite, each of which is run for all of them.
macro_rules! for_each_provider_and_suite {
    ($($test:ident),+ $(,)?) => {
        mod aes_gcm {
            $(
                #[test]
                fn $test() {
                    for suite in crate::srtp::Suite::ALL {
                        println!("{suite}");
                        super::$test::<crate::srtp::AesGcmProvider>(suite);
                    }
                }
            )+
        }
        mod ipsec_mb {
            $(
                #[test]
                fn $test() {
                    if !crate::srtp::tests::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                        return;
                    }
                    for suite in crate::srtp::Suite::ALL {
                        println!("{suite}");
                        super::$test::<crate::srtp::IpsecMbProvider>(suite);
                    }
                }
            )+
        }
    };
}
use for_each_provider_and_suite;

/// A pseudo-random generator whose sequence a failing test can repeat from the seed in its source
/// (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fill(&mut self, octets: &mut [u8]) {
        octets.iter_mut().for_each(|octet| *octet = self.next() as u8);
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.fill(&mut octets);
        octets
    }
}

/// A master key that a test can tell from others.
pub(crate) fn master(suite: Suite, seed: u64) -> MasterKey {
    let mut random = Random(seed);
    MasterKey::generate(suite, &mut |octets| random.fill(octets))
}

/// An RTP packet in the clear whose payload is made from its index.
pub(crate) fn rtp_plain(ssrc: u32, index: PacketIndex, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0x60];
    packet.extend(index.seq().to_be_bytes());
    packet.extend((index.as_u64() as u32).wrapping_mul(160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(Random(index.as_u64()).octets(payload_len));
    packet
}

/// The same packet sealed, by a context of its own, so that any index can be made in any order.
fn rtp_sealed<P: Provider>(key: &MasterKey, ssrc: u32, index: PacketIndex, payload_len: usize) -> Vec<u8> {
    let mut packet = rtp_plain(ssrc, index, payload_len);
    let mut sender = RtpOutbound::<P>::new(key);
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, RTP_HEADER_LEN, ssrc, index).expect("a new context seals any index");
    packet
}

/// An RTCP sender report in the clear, of 28 octets and `extra` words more.
fn rtcp_plain(ssrc: u32, extra: usize) -> Vec<u8> {
    let words = 6 + extra as u16;
    let mut packet = vec![0x80, 200];
    packet.extend(words.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(Random(ssrc.into()).octets(20 + 4 * extra));
    packet
}

/// Octets from hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "an odd number of digits: {text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
