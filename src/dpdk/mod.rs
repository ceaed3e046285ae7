//! A safe layer over DPDK: environment, memory pools, mbufs, ports and their queues, pinned workers.
//!
//! Every use of `unsafe` over `dpdk-sys` is in this folder, and so is what else a worker needs of the machine: the
//! allocator that counts what workers take ([`CountingAllocator`]), [`lockdown`] out of the kernel, memory in hugepages
//! ([`HugeVec`]), rows in it that two threads hand to each other ([`slots`]), the ring of the hand-over ([`spsc`]), the
//! [`arena`] of the media tap. What its types guarantee to the rest:
//!
//! * An [`Mbuf`] has one owner. Dropping it gives it back to its pool; transmitting moves it into the driver;
//!   what the driver did not take stays with the caller. Safe code can neither leak one into a freed pool nor
//!   free one twice.
//! * An [`AudioFrame`] is an mbuf that the gateway made; a [`SharedFrame`] is one of several references to such a frame,
//!   of which nobody can change a byte.
//! * A [`Mempool`] is freed only when every mbuf is back in it; a pool that still misses one is kept, with the
//!   environment beneath it, for the life of the process.
//! * A [`Port`]'s [`RxQueue`] and [`TxQueue`] are unique handles, so one thread polls a queue; the port closes
//!   after the last of them is gone.
//! * The [`Eal`] is initialised once per process and outlives everything that was made from it.
//!
//! Teardown order follows from ownership: queues, ports, pools, environment.

mod affinity;
pub mod arena;
pub mod arena_sync;
#[cfg(test)]
mod arena_tests;
mod clock;
mod eal;
mod error;
pub mod frame_pool;
mod heap;
mod huge;
mod lcore;
pub mod lockdown;
mod mbuf;
mod mempool;
#[cfg(any(test, feature = "fault-injection"))]
pub mod poison;
mod populate;
mod port;
mod prefetch;
mod quiescence;
mod shared_memory;
pub mod slots;
#[cfg(test)]
mod slots_tests;
mod spread;
pub mod spsc;
pub mod spsc_sync;
#[cfg(test)]
mod spsc_tests;
mod unmap_guard;

pub use affinity::{allowed_cores, pin_current_thread};
#[cfg(feature = "fault-injection")]
pub use clock::shift_cycles;
pub use clock::{cycles, cycles_to_ns, ns_to_cycles};
pub use eal::{Eal, EalOptions};
pub use error::Error;
pub use frame_pool::{AudioFrame, AudioFramePool, FrameBucket, NoFrame, SharedFrame};
pub use heap::{CountingAllocator, HeapCounts, HeapWatch};
pub use huge::{HugeVec, Memory};
pub use lcore::LcoreHandle;
pub use mbuf::{Checksum, Mbuf};
pub use mempool::{Mempool, MempoolUse};
pub use populate::{populate_peers, populate_program};
pub use port::{Attach, Link, MAX_BURST, Offloads, Port, PortConfig, PortInfo, PortStats, RxQueue, TxQueue};
pub use prefetch::{CACHE_LINE, prefetch_line, prefetch_line_far, prefetch_lines, prefetch_read};
pub use quiescence::{Poller, wait_for_grace_period};
pub use shared_memory::{SharedMemory, is_memory_backed};
pub use spread::Rss;
