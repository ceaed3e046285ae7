//! Ports: frames that come and go, those that are not taken, and what a port says of how it spreads.

use arrayvec::ArrayVec;
use voxlane::dpdk::{Attach, Eal, Mbuf, PortConfig};

use crate::one_worker::PORT;
use crate::{in_use, pool};

pub fn null_port_gives_and_takes_frames(eal: &Eal) {
    let pool = pool(eal, "null", 255);
    let attach = Attach::new(eal, "net_null0,size=100").expect("the null driver");
    let (port, mut queues) = attach.configure(&PORT, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    let (mut rx, mut tx) = queues.remove(0);
    let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
    assert_eq!(rx.rx_burst(&mut burst), 64);
    assert!(burst.iter().all(|frame| frame.len() == 100));
    assert_eq!(in_use(&pool), 64);
    assert_eq!(rx.rx_burst(&mut burst), 0, "no room, no frames");
    assert_eq!(tx.tx_burst(&mut burst), 64);
    assert!(burst.is_empty());
    assert_eq!(in_use(&pool), 0);
    port.stop();
    assert_eq!(rx.rx_burst(&mut burst), 0, "a stopped port can be polled");
}

pub fn what_a_port_does_not_take_stays_with_the_caller(eal: &Eal) {
    let pool = pool(eal, "ring", 4095);
    let attach = Attach::new(eal, "net_ring0").expect("the ring driver");
    let (port, mut queues) = attach.configure(&PORT, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    let (mut rx, mut tx) = queues.remove(0);
    let mut sent: u32 = 0;
    let rest = loop {
        let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
        assert!(pool.alloc_bulk(&mut burst));
        for frame in &mut burst {
            assert!(frame.resize(4));
            frame.data_mut().copy_from_slice(&sent.to_be_bytes());
            sent += 1;
        }
        tx.tx_burst(&mut burst);
        if !burst.is_empty() {
            break burst;
        }
        assert!(sent < 4000, "the ring must fill up");
    };
    let number = |frame: &Mbuf| u32::from_be_bytes(frame.data().try_into().expect("four bytes"));
    let taken = sent - rest.len() as u32;
    assert!(rest.iter().map(number).eq(taken..sent), "the rest is the end, in order");
    drop(rest);
    assert_eq!(in_use(&pool), taken);
    let mut expected = 0;
    loop {
        let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
        if rx.rx_burst(&mut burst) == 0 {
            break;
        }
        for frame in &burst {
            assert_eq!(number(frame), expected);
            expected += 1;
        }
    }
    assert_eq!(expected, taken, "each exactly once");
    assert_eq!(in_use(&pool), 0);
}

/// net_null spreads nothing, but it keeps the key and the table of a port that does.
pub fn a_port_with_rss_says_how_it_spreads(eal: &Eal) {
    let pool = pool(eal, "spread", 1023);
    let attach = Attach::new(eal, "net_null_spread").expect("the null driver");
    assert!(attach.info().has_rss && attach.info().max_queues >= 3, "{:?}", attach.info());
    let config = PortConfig { queues: 3, ..PORT };
    let (port, queues) = attach.configure(&config, std::slice::from_ref(&pool)).expect("three queue pairs");
    port.start().expect("nothing can refuse");
    let rss = port.spread(3).expect("the driver tells key and table");
    assert!(rss.udp_ipv4 && rss.udp_ipv6, "{rss:?}");
    assert!(!rss.destination_port_only, "net_null does not know it: {rss:?}");
    assert_eq!(rss.key.len(), 40);
    let expected: Vec<u16> = (0..rss.table.len()).map(|entry| entry as u16 % 3).collect();
    assert_eq!(rss.table, expected, "the queues in turn");
    let address = |text: &str| -> std::net::SocketAddr { text.parse().expect("a literal") };
    let (remote, local) = (address("10.1.0.2:30000"), address("10.1.0.1:20000"));
    let hash = voxlane::control::rss::toeplitz(&rss.key, &[10, 1, 0, 2, 10, 1, 0, 1, 0x75, 0x30, 0x4e, 0x20]);
    let expected = rss.table[hash as usize % rss.table.len()];
    assert_eq!(voxlane::control::rss::queue(&rss, Some(remote), local), Some(expected));
    let refusal = port.steer(local, 1).expect_err("net_null has no flow rules").to_string();
    assert!(refusal.contains("steering 10.1.0.1:20000 to queue 1 of net_null_spread"), "{refusal}");
    drop(queues);
    drop(port);

    let attach = Attach::new(eal, "net_ring_spread").expect("the ring driver");
    assert!(!attach.info().has_rss);
    let (port, _queues) = attach.configure(&PORT, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    assert_eq!(port.spread(1), None, "a port that does not spread says nothing");
}
