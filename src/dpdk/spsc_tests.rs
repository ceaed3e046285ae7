//! The ring against a plain queue and between two threads. Beside and not inside `spsc.rs`, which the loom model
//! compiles as well.

use std::collections::VecDeque;

use super::spsc::ring;

/// The ring against a `VecDeque` that counts what is published and released, over random steps.
#[test]
fn a_ring_does_what_a_bounded_queue_does() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for capacity in [1, 2, 4, 8] {
        let (mut producer, mut consumer) = ring::<u64>(capacity);
        let (mut written, mut visible) = (VecDeque::new(), VecDeque::new());
        let (mut next, mut unreleased) = (0_u64, 0);
        // Miri takes its time with each.
        for _ in 0..if cfg!(miri) { 500 } else { 20_000 } {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 5 {
                0 | 1 => {
                    let full = written.len() + visible.len() + unreleased == capacity;
                    assert_eq!(producer.push(next), if full { Err(next) } else { Ok(()) });
                    if !full {
                        written.push_back(next);
                    }
                    next += 1;
                }
                2 => {
                    producer.publish();
                    visible.append(&mut written);
                }
                3 => {
                    assert_eq!(consumer.front(), visible.front());
                    let popped = consumer.pop();
                    assert_eq!(popped, visible.pop_front());
                    unreleased += usize::from(popped.is_some());
                }
                _ => {
                    consumer.release();
                    unreleased = 0;
                }
            }
        }
    }
}

#[test]
fn what_stays_in_a_ring_is_dropped_once() {
    let item = std::sync::Arc::new(());
    let (mut producer, mut consumer) = ring(4);
    for _ in 0..4 {
        assert!(producer.push(std::sync::Arc::clone(&item)).is_ok());
    }
    assert!(producer.push(std::sync::Arc::clone(&item)).is_err(), "the ring is full");
    producer.publish();
    drop(consumer.pop());
    assert_eq!(std::sync::Arc::strong_count(&item), 4);
    drop(producer);
    drop(consumer);
    assert_eq!(std::sync::Arc::strong_count(&item), 1);
}

#[test]
fn two_threads_exchange_everything_in_order() {
    const ITEMS: u64 = if cfg!(miri) { 500 } else { 200_000 };
    let (mut producer, mut consumer) = ring::<u64>(64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for item in 0..ITEMS {
                while producer.push(item).is_err() {
                    producer.publish();
                    std::thread::yield_now();
                }
                if item % 7 == 0 {
                    producer.publish();
                }
            }
        });
        let mut expected = 0;
        while expected < ITEMS {
            while let Some(item) = consumer.pop() {
                assert_eq!(item, expected);
                expected += 1;
            }
            consumer.release();
            std::thread::yield_now();
        }
        assert_eq!(consumer.pop(), None);
    });
}
