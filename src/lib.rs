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
//! | [`srtp`] | key derivation, indices, replay windows, providers of AEAD |
//! | [`session`] | sessions, legs, streams and how they are found |
//! | [`fastpath`] | the worker and its stages, frame states, drop reasons |
//! | [`control`] | configuration, start and stop, the host on the network |
//! | [`rate_limit`] | token buckets |
//! | [`telemetry`] | counters, histograms, metrics, the final report |

pub mod control;
pub mod dpdk;
pub mod fastpath;
pub mod rate_limit;
pub mod session;
pub mod srtp;
pub mod telemetry;
pub mod wire;
