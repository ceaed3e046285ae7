//! A crypto provider alone, at its honest best: the other half of the limit.
//!
//! For each packet what the relay must do, and nothing else: open with the key of one stream, seal with another key
//! of it. N sessions have 2 N streams and 4 N keys, as in the gateway; streams come in random order; keys lie side
//! by side in hugepages (glibc's malloc takes them with `glibc.malloc.hugetlb=2`) and are prefetched 48 packets
//! ahead into the L2 cache and eight ahead into the L1 cache; packets are in the L2 cache. Packets are sealed beforehand, with the clock stopped and with keys of
//! their own, so that the table's stay as cold as they are.
//!
//! A provider is one line in [`measure`].

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use voxlane::dpdk::{pin_current_thread, prefetch_line_far, prefetch_lines};
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, MasterKey, Provider, SessionKeys, Suite, TAG_LEN};

use super::args::CryptoArgs;
use super::error::BenchError;
use super::metrics::memory_of;
use crate::order::Order;
use crate::rng::Rng;

/// Has glibc's malloc take large blocks from reserved hugepages, or from ordinary pages where there are none.
pub const HUGEPAGE_MALLOC: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=2");

/// Packets ahead that keys are prefetched.
const AHEAD: usize = 8;

/// Packets ahead that they are prefetched into the second-level cache, as the gateway does for a burst.
const FAR_AHEAD: usize = 48;

/// Packets from one look at the clock to the next: with their keys' lines they fit the L2 cache.
const SECTION: usize = 512;

/// Longest payload.
const MAX_PAYLOAD: usize = 1_024;

const AAD_LEN: usize = 12;

const SUITE: Suite = Suite::AeadAes128Gcm;

/// What one measurement found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RawReport {
    /// Opening and sealing a packet, in nanoseconds.
    pub ns_per_packet: f64,
    /// Share of the keys that is in hugepages.
    pub hugepage_share: f64,
    /// Bytes of an expanded key.
    pub key_bytes: usize,
}

/// `voxbench crypto`: sets up the keys, then answers each line of standard input, a number of seconds, with a
/// [`RawReport`] as JSON.
///
/// # Errors
/// [`BenchError::Usage`] for a provider that there is not.
pub fn measure(args: &CryptoArgs) -> Result<(), BenchError> {
    match args.provider.as_str() {
        AesGcmProvider::NAME => serve::<AesGcmProvider>(args),
        IpsecMbProvider::NAME => {
            IpsecMbProvider::is_available().map_err(|error| BenchError::Usage(error.to_string()))?;
            serve::<IpsecMbProvider>(args)
        }
        other => Err(BenchError::Usage(format!("there is no provider {other:?} to measure"))),
    }
}

fn serve<P: Provider>(args: &CryptoArgs) -> Result<(), BenchError> {
    let usage = |error: &dyn std::fmt::Display| BenchError::Usage(error.to_string());
    pin_current_thread(&[args.core]).map_err(|error| usage(&error))?;
    if args.payload > MAX_PAYLOAD || args.sessions == 0 {
        let text = format!("--payload has at most {MAX_PAYLOAD} bytes, and --sessions is not 0");
        return Err(BenchError::Usage(text));
    }
    let mut bench = Bench::<P>::new(args.sessions, args.payload);
    let output = || BenchError::io("writing to standard output");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let seconds = line.trim().parse::<f64>().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| BenchError::Usage(format!("{line:?} is no number of seconds")))?;
        let report = bench.run(Duration::from_secs_f64(seconds))?;
        let mut json = serde_json::to_vec(&report).map_err(|error| output()(error.into()))?;
        json.push(b'\n');
        std::io::stdout().lock().write_all(&json).map_err(output())?;
    }
    Ok(())
}

struct Bench<P: Provider> {
    keys: Vec<StreamKeys<P>>,
    order: Order,
    packets: Vec<Packet>,
    payload: usize,
    sequence: u64,
}

/// What a stream opens with and seals with.
struct StreamKeys<P: Provider> {
    open: Line<P::Key>,
    seal: Line<P::Key>,
}

/// A key that starts on a cache line, as in the gateway.
#[repr(align(64))]
struct Line<K>(K);

/// A packet and the stream that it is for.
#[repr(align(64))]
struct Packet {
    stream: usize,
    nonce: [u8; 12],
    aad: [u8; AAD_LEN],
    tag: [u8; TAG_LEN],
    body: [u8; MAX_PAYLOAD],
}

impl<P: Provider> Bench<P> {
    fn new(sessions: usize, payload: usize) -> Self {
        let streams = 2 * sessions;
        let mut keys = Vec::with_capacity(streams);
        keys.extend((0..streams as u64).map(|stream| StreamKeys {
            open: Line(key::<P>(2 * stream)),
            seal: Line(key::<P>(2 * stream + 1)),
        }));
        let packet = || Packet {
            stream: 0,
            nonce: [0; 12],
            aad: [0; AAD_LEN],
            tag: [0; TAG_LEN],
            body: [0; MAX_PAYLOAD],
        };
        Bench {
            keys,
            order: Order::new(streams as u64, 1),
            packets: std::iter::repeat_with(packet).take(SECTION).collect(),
            payload,
            sequence: 0,
        }
    }

    fn run(&mut self, wanted: Duration) -> Result<RawReport, BenchError> {
        let (mut taken, mut packets, mut opened) = (Duration::ZERO, 0_u64, 0_u64);
        while packets == 0 || taken < wanted {
            self.prepare();
            let start = Instant::now();
            opened += self.section();
            taken += start.elapsed();
            packets += SECTION as u64;
        }
        if opened != packets {
            let problem = format!("{} of {packets} packets did not open", packets - opened);
            return Err(BenchError::invalid("the crypto alone", problem));
        }
        let bytes = size_of::<StreamKeys<P>>() * self.keys.len();
        let (_, huge) = memory_of(std::process::id());
        Ok(RawReport {
            ns_per_packet: taken.as_nanos() as f64 / packets as f64,
            hugepage_share: (huge as f64 / bytes as f64).min(1.0),
            key_bytes: size_of::<P::Key>(),
        })
    }

    /// Clock stopped: seals the section's packets.
    fn prepare(&mut self) {
        for packet in &mut self.packets {
            let stream = self.order.next_stream();
            self.sequence += 1;
            packet.stream = stream as usize;
            packet.nonce[4..].copy_from_slice(&self.sequence.to_be_bytes());
            packet.aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
            let key = Line(key::<P>(2 * stream));
            let body = &mut packet.body[..self.payload];
            packet.tag = P::aead_seal(&key.0, SUITE, &packet.nonce, &packet.aad, body);
        }
    }

    /// Clock running: opens and seals each packet. Returns how many opened.
    #[inline(never)]
    fn section(&mut self) -> u64 {
        let mut opened = 0;
        for packet in &self.packets[..AHEAD] {
            prefetch(&self.keys[packet.stream], self.payload);
        }
        for at in 0..self.packets.len() {
            if let Some(packet) = self.packets.get(at + FAR_AHEAD) {
                prefetch_far(&self.keys[packet.stream], self.payload);
            }
            if let Some(packet) = self.packets.get(at + AHEAD) {
                prefetch(&self.keys[packet.stream], self.payload);
                let len = size_of::<Packet>() - MAX_PAYLOAD + self.payload;
                prefetch_lines(std::ptr::from_ref(packet).cast(), len);
            }
            let packet = &mut self.packets[at];
            let keys = &self.keys[packet.stream];
            let body = &mut packet.body[..self.payload];
            let verified = P::aead_open(&keys.open.0, SUITE, &packet.nonce, &packet.aad, body, &packet.tag);
            opened += u64::from(verified.is_ok());
            packet.tag = black_box(P::aead_seal(&keys.seal.0, SUITE, &packet.nonce, &packet.aad, body));
        }
        opened
    }
}

#[inline(always)]
fn prefetch<P: Provider>(keys: &StreamKeys<P>, payload: usize) {
    P::prefetch(&raw const keys.open.0, SUITE, payload);
    P::prefetch(&raw const keys.seal.0, SUITE, payload);
}

#[inline(always)]
fn prefetch_far<P: Provider>(keys: &StreamKeys<P>, payload: usize) {
    P::lines(&raw const keys.open.0, SUITE, payload, prefetch_line_far);
    P::lines(&raw const keys.seal.0, SUITE, payload, prefetch_line_far);
}

/// Key number `number`, expanded.
fn key<P: Provider>(number: u64) -> P::Key {
    let master = MasterKey::from_parts(SUITE, &octets(number), &[0; 12]).expect("16 and 12 octets");
    P::key(&SessionKeys::rtp(&master))
}

/// Key octets number `number`: no secret is measured.
fn octets(number: u64) -> [u8; 16] {
    let mut rng = Rng::new(number);
    let mut octets = [0; 16];
    for word in octets.as_chunks_mut::<8>().0 {
        *word = rng.next_u64().to_be_bytes();
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_opens_and_takes_some_time() {
        for payload in [20, 160, 960] {
            let mut bench = Bench::<AesGcmProvider>::new(3, payload);
            let report = bench.run(Duration::from_micros(10)).expect("all packets open");
            assert!(report.ns_per_packet > 0.0, "{report:?}");
            assert_eq!(report.key_bytes, size_of::<<AesGcmProvider as Provider>::Key>());
        }
    }

    #[test]
    fn a_packet_that_does_not_open_is_no_measurement() {
        let mut bench = Bench::<AesGcmProvider>::new(1, 160);
        bench.keys.reverse();
        let error = bench.run(Duration::from_micros(10)).expect_err("the keys are not those of the packets");
        assert!(error.to_string().contains("did not open"), "{error}");
    }
}
