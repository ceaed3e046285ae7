//! What is fuzzed, as functions over bytes: run by libFuzzer (`fuzz_targets/`), and over the seeds by an ordinary test.
//!
//! Each holds an invariant, not only that nothing panics: what is read and written again is the same; a frame has
//! exactly one fate; nothing leaves that nobody with the key has sent.

#![forbid(unsafe_code)]

mod codec;
mod control;
mod gate;
mod pipeline;
mod wire;

/// A target: bytes in, a panic if an invariant is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its binary and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("ethernet", wire::ethernet),
    ("vlan", wire::vlan),
    ("arp", wire::arp),
    ("ipv4", wire::ipv4),
    ("ipv6", wire::ipv6),
    ("icmpv4", wire::icmpv4),
    ("icmpv6", wire::icmpv6),
    ("ndp", wire::ndp),
    ("udp", wire::udp),
    ("rtp", wire::rtp),
    ("rtcp", wire::rtcp),
    ("opus", codec::opus),
    ("adts", codec::adts),
    ("rfc3640", codec::rfc3640),
    ("pcm", codec::pcm),
    ("telephone_event", codec::telephone_event),
    ("comfort_noise", codec::comfort_noise),
    ("aac_config", gate::aac_config),
    ("inspect", gate::inspect),
    ("reframe", gate::reframe),
    ("reframe_rtcp", gate::reframe_rtcp),
    ("pipeline", pipeline::pipeline),
    ("config", control::config),
    ("sessions", control::sessions),
    ("journal", control::journal),
];

/// The target of that name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("there is no fuzz target {name:?}")).1
}
