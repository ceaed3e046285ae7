//! `voxbench`: what a relayed packet costs, against the limit of the machine, measured in one run.
//!
//! ```text
//! args ─ suite ─ scene ─── a gateway with its configuration and sessions, stopped between measurements
//!          │   ├ load ──── voxload, told step by step what to send
//!          │   ├ testpmd ─ the same ports without a gateway: half of the limit
//!          │   ├ raw ───── the crypto without ports: the other half
//!          │   ├ framepool  pools of frames for each thread against one with a lock and the heap
//!          │   ├ churn ─── a gateway whose sessions come and go at a rate (churn_gateway)
//!          │   └ search ── the highest rate without loss
//!          └ figures ───── medians, as JSON ─ table, plot, readme: for people
//! ```
//!
//! The gateway's worker, testpmd and the raw crypto take turns on one core, generators on another. What is
//! compared is measured in turns (relay, limit, relay, limit …), so that a machine that others share slows both.

pub mod args;
pub mod churn;
pub mod churn_gateway;
pub mod error;
pub mod figures;
pub mod framepool;
pub mod load;
pub mod machine;
pub mod metrics;
pub mod plot;
pub mod process;
pub mod raw;
pub mod readme;
pub mod scene;
pub mod search;
pub mod suite;
pub mod table;
pub mod testpmd;
