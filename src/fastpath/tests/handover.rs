//! The rings between workers: the right worker, the right order, bursts of one port, and what a full ring does.

use arrayvec::ArrayVec;

use crate::fastpath::handover::mesh;

#[test]
fn a_frame_arrives_at_its_worker_and_nowhere_else() {
    let mut workers = mesh::<(usize, u16)>(3, 4);
    for (from, (outbox, _)) in workers.iter_mut().enumerate() {
        for to in 0..4 {
            let is_another = usize::from(to) != from && to < 3;
            assert_eq!(outbox.push(to, 7, (from, to)), is_another, "{from} to {to}");
        }
        outbox.publish();
    }
    for (number, (_, inbox)) in workers.iter_mut().enumerate() {
        let mut seen = ArrayVec::<_, 8>::new();
        for ring in 0..inbox.rings() {
            assert_eq!(inbox.take(ring, &mut seen), Some(7));
            assert_eq!(inbox.take(ring, &mut seen), None, "taken once");
        }
        let expected: Vec<_> =
            (0..3).filter(|from| *from != number).map(|from| (from, number as u16)).collect();
        assert_eq!(seen.as_slice(), expected);
    }
}

#[test]
fn a_burst_holds_one_port_and_as_much_as_fits_in_order() {
    let mut workers = mesh::<u32>(2, 16);
    let mut inbox = workers.pop().expect("two workers").1;
    let mut outbox = workers.pop().expect("two workers").0;
    for (port, frame) in [(0, 1), (0, 2), (0, 3), (1, 4), (0, 5)] {
        assert!(outbox.push(1, port, frame));
    }
    let mut burst = ArrayVec::<_, 2>::new();
    assert_eq!(inbox.take(0, &mut burst), None, "nothing before it is published");
    outbox.publish();
    for (port, frames) in [(0, &[1, 2][..]), (0, &[3]), (1, &[4]), (0, &[5])] {
        burst.clear();
        assert_eq!(inbox.take(0, &mut burst), Some(port));
        assert_eq!(burst.as_slice(), frames);
    }
    assert_eq!(inbox.take(0, &mut burst), None);
}

#[test]
fn a_full_ring_refuses_and_has_room_again_once_it_was_taken_from() {
    let mut workers = mesh::<u32>(2, 4);
    let mut inbox = workers.pop().expect("two workers").1;
    let mut outbox = workers.pop().expect("two workers").0;
    let pushed = (0..6).filter(|&frame| outbox.push(1, 0, frame)).count();
    assert_eq!(pushed, 4, "a worker that stands still costs what exceeds its ring");
    outbox.publish();
    let mut burst = ArrayVec::<_, 3>::new();
    assert_eq!(inbox.take(0, &mut burst), Some(0));
    assert_eq!((6..12).filter(|&frame| outbox.push(1, 0, frame)).count(), 3);
}
