//! Raw bindings to intel-ipsec-mb 1.3 or newer.
//!
//! The library is opened when the program starts (`vx_imb_open`), so one binary runs with and without it. Only the
//! shim sees its structures. Nothing here is safe; `voxlane::srtp::provider_ipsec_mb` is the only user and makes it
//! so.

#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
#![allow(unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
