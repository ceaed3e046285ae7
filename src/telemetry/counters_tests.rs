//! Counters, their layout and the balance.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn blocks_do_not_share_cache_lines() {
    assert_eq!(align_of::<QueueCounters>(), 128);
    assert_eq!(align_of::<WorkerCounters>(), 128);
    assert_eq!(size_of::<QueueCounters>() % 128, 0);
    assert_eq!(size_of::<WorkerCounters>() % 128, 0);
}

#[test]
fn a_counter_adds_wraps_and_keeps_the_maximum() {
    let counter = Counter::new();
    counter.add(3);
    counter.add(0);
    counter.raise_to(2);
    assert_eq!(counter.value(), 3);
    counter.raise_to(9);
    assert_eq!(counter.value(), 9);
    counter.add(u64::MAX);
    assert_eq!(counter.value(), 8, "wraps and does not panic");
}

#[test]
fn each_drop_reason_has_a_counter_of_its_own() {
    let counters = QueueCounters::new();
    for (n, &reason) in DropReason::ALL.iter().enumerate() {
        counters.count_dropped(reason, n as u64 + 1);
    }
    for (n, &reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(counters.dropped_for(reason), n as u64 + 1, "{reason}");
    }
    let all = DropReason::COUNT as u64;
    assert_eq!(counters.dropped_total(), all * (all + 1) / 2);
}

/// Every term at a different power of two, so that no two mistakes cancel.
fn queue_in_balance() -> QueueCounters {
    let counters = QueueCounters::new();
    counters.handed_over_in.add(16);
    counters.tx_packets.add(64);
    counters.count_dropped(DropReason::SrtpAuthFailed, 4);
    counters.count_dropped(DropReason::TxFull, 1);
    counters.punted.add(8);
    counters.handed_over_out.add(32);
    counters.rx_packets.add(64 + 5 + 8 + 32 - 16);
    counters
}

#[test]
fn a_balance_is_exact_only_if_every_frame_has_one_fate() {
    let counters = queue_in_balance();
    let balance = Balance::of(&counters);
    let expected = Balance { rx: 93, tx: 64, dropped: 5, punted: 8, handed_out: 32, handed_in: 16 };
    assert_eq!(balance, expected);
    assert!(balance.is_exact());

    type Change = fn(&QueueCounters) -> &Counter;
    let inward: [Change; 2] = [|c| &c.rx_packets, |c| &c.handed_over_in];
    let outward: [Change; 4] = [|c| &c.tx_packets, |c| &c.punted, |c| &c.handed_over_out, |c| &c.dropped[0]];
    for (terms, unaccounted) in [(inward.as_slice(), 2), (outward.as_slice(), -2)] {
        for term in terms {
            let counters = queue_in_balance();
            term(&counters).add(2);
            let balance = Balance::of(&counters);
            assert!(!balance.is_exact(), "{balance:?}");
            assert_eq!(balance.unaccounted(), unaccounted, "{balance:?}");
        }
    }
}

#[test]
fn frames_of_the_host_side_are_no_part_of_the_balance() {
    let counters = queue_in_balance();
    counters.originated_packets.add(7);
    counters.originated_dropped.add(7);
    assert!(Balance::of(&counters).is_exact());
}

#[test]
fn sums_of_balances_are_by_term() {
    let one = Balance { rx: 1, tx: 2, dropped: 3, punted: 4, handed_out: 5, handed_in: 6 };
    let sum: Balance = [one, one, one].into_iter().sum();
    assert_eq!(sum, Balance { rx: 3, tx: 6, dropped: 9, punted: 12, handed_out: 15, handed_in: 18 });
    assert_eq!([].into_iter().sum::<Balance>(), Balance::default());
}

#[test]
fn two_errors_in_two_queues_do_not_hide_each_other_in_each_queue() {
    let lost = Balance { rx: 1, ..Balance::default() };
    let doubled = Balance { tx: 1, ..Balance::default() };
    assert!((lost + doubled).is_exact(), "the sum alone would hide it");
    assert!(!lost.is_exact() && !doubled.is_exact());
}

#[test]
fn a_reader_sees_counts_grow_and_at_the_end_an_exact_balance() {
    const BURSTS: u64 = 100_000;
    let (counters, done) = (QueueCounters::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for burst in 0..BURSTS {
                let reason = DropReason::ALL[burst as usize % DropReason::COUNT];
                counters.rx_packets.add(32);
                counters.rx_bursts.add(1);
                counters.tx_packets.add(30);
                counters.count_dropped(reason, 1);
                counters.punted.add(1);
                counters.latency.record_n(burst, 30);
            }
            done.store(true, Ordering::Release);
        });
        let mut before = Balance::default();
        while !done.load(Ordering::Acquire) {
            let now = Balance::of(&counters);
            assert!(now.rx >= before.rx && now.tx >= before.tx);
            assert!(now.dropped >= before.dropped && now.punted >= before.punted);
            before = now;
        }
    });
    let balance = Balance::of(&counters);
    assert_eq!(balance.rx, 32 * BURSTS);
    assert!(balance.is_exact(), "{balance:?}");
    assert_eq!(counters.latency.snapshot().count(), balance.tx);
}
