//! voxlane: a voice media gateway that bypasses the kernel.
//!
//! Encrypted RTP arrives on a DPDK port; inside the very mbuf in which it arrived it is opened, checked,
//! re-encapsulated for the other leg, sealed with that leg's key and transmitted: no copy, no heap, no lock, no
//! system call, no log line. The binary `voxlane` is a thin shell around this library; the load generator
//! `voxload` is another user of it.
//!
//! | module | what it is |
//! |---|---|
//! | [`dpdk`] | safe layer over DPDK: environment, pools, mbufs, ports, lcores |
//! | [`wire`] | checked views of every header on the wire |
//! | [`codec`] | checked views of every payload format |
//! | [`srtp`] | key derivation, indices, replay windows, providers of AEAD |
//! | [`reframe`] | what packets need to be other ones on the other leg |
//! | [`session`] | sessions, legs, streams and how they are found |
//! | [`fastpath`] | the worker and its stages, frame states, drop reasons |
//! | [`control`] | configuration, start and stop, the host on the network |
//! | [`rate_limit`], [`steady_clock`] | token buckets, and a clock that does not jump |
//! | [`tap`] | the media tap: opened media of chosen sessions, written to disk |
//! | [`telemetry`] | counters, histograms, metrics, the final report |

pub mod codec;
pub mod control;
pub mod dpdk;
pub mod fastpath;
pub mod rate_limit;
pub mod reframe;
pub mod session;
pub mod srtp;
pub mod steady_clock;
pub mod tap;
pub mod telemetry;
pub mod wire;
