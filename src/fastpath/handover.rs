//! Hand-over between workers: a frame that arrived on one worker's queue and belongs to a stream of another.
//!
//! One ring for each ordered pair of workers, so a ring has one writer and one reader and nothing contends. Frames
//! of a flow that keeps its queue stay in their order; between two rings, as between two queues, there is none, and
//! the replay window of the stream sorts it out.
//!
//! A worker publishes at the end of each of its bursts and takes what others gave it once per round, in bursts of
//! one port. Nothing is lost at the end: workers stop polling first, and then each takes what is left
//! (`Worker::finish`). Generic over the frame, so that `tests/handover_model.rs` can run it under loom.

use arrayvec::ArrayVec;

use crate::dpdk::spsc::{Consumer, Producer, ring};

/// A frame on its way to its stream's worker, with the index of the port that it arrived on.
struct Handed<F> {
    port: u8,
    frame: F,
}

/// Where one worker puts frames of the others' streams.
pub struct Outbox<F> {
    /// By worker; `None` at its own place.
    to: Vec<Option<Producer<Handed<F>>>>,
    /// Whether something waits to be published.
    dirty: bool,
}

/// Where one worker finds frames of its own streams that others received.
pub struct Inbox<F> {
    from: Vec<Consumer<Handed<F>>>,
}

/// The rings between `workers` workers, `depth` frames each (rounded up to a power of two): by worker, what it
/// writes to and what it reads from.
pub fn mesh<F: Send>(workers: usize, depth: usize) -> Vec<(Outbox<F>, Inbox<F>)> {
    let mut inboxes: Vec<_> = (0..workers).map(|_| Inbox { from: Vec::new() }).collect();
    let outboxes: Vec<_> = (0..workers)
        .map(|from| {
            let to = inboxes.iter_mut().enumerate().map(|(to, inbox)| {
                (to != from).then(|| {
                    let (producer, consumer) = ring(depth);
                    inbox.from.push(consumer);
                    producer
                })
            });
            Outbox { to: to.collect(), dirty: false }
        })
        .collect();
    outboxes.into_iter().zip(inboxes).collect()
}

impl<F> Outbox<F> {
    /// Gives `frame`, which arrived on `port`, to `worker`. `false`: no room, and the frame is gone.
    #[inline]
    pub fn push(&mut self, worker: u16, port: u8, frame: F) -> bool {
        let Some(Some(ring)) = self.to.get_mut(usize::from(worker)) else { return false };
        self.dirty = true;
        ring.push(Handed { port, frame }).is_ok()
    }

    /// Lets the other workers see what was given to them. At the end of a burst.
    #[inline]
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.to.iter_mut().flatten().for_each(Producer::publish);
        }
    }
}

impl<F> Inbox<F> {
    /// How many rings there are: one for each other worker.
    #[inline]
    pub fn rings(&self) -> usize {
        self.from.len()
    }

    /// Takes frames of one port from `ring` into the spare room of `burst`, in their order, and returns the port;
    /// `None` when the ring is empty.
    #[inline]
    pub fn take<const N: usize>(&mut self, ring: usize, burst: &mut ArrayVec<F, N>) -> Option<u8> {
        let ring = self.from.get_mut(ring)?;
        let port = ring.front()?.port;
        while !burst.is_full() && ring.front().is_some_and(|next| next.port == port) {
            let Some(handed) = ring.pop() else { break };
            burst.push(handed.frame);
        }
        ring.release();
        Some(port)
    }
}
