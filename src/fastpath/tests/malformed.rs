//! Every length, every bit, and garbage: never a panic, always exactly one outcome.

use super::*;

/// What a bad packet could have changed.
fn state(scene: &Scene) -> String {
    format!("{:?}", scene.pipeline.streams)
}

#[test]
fn no_length_and_no_bit_makes_it_panic_and_each_has_exactly_one_outcome() {
    let mut scene = Scene::new();
    let long = scene.srtp(1, &[0x42; 1400]);
    let long = frame(A_REMOTE, A_LOCAL, None, &long);
    let mut entered = 0;
    let mut check = |scene: &mut Scene, bytes: &[u8], valid: bool| {
        let before = state(scene);
        let drops = scene.receive(HeapBuffer::new(bytes, 0xee));
        entered += 1;
        let balance = scene.balance();
        assert_eq!(balance.rx, entered);
        assert!(balance.is_exact(), "{} bytes: {balance:?}", bytes.len());
        assert!(drops.len() <= 1);
        if !valid {
            assert_eq!(state(scene), before, "a bad packet changed a stream");
        }
    };
    for length in 0..=2000 {
        let mut cut = long.clone();
        cut.resize(length, 0x55);
        // What stands behind the IP packet is Ethernet padding; the packet as a whole is authentic once.
        check(&mut scene, &cut, length == long.len());
        // With lengths that agree, so that the later stages see it as well.
        if let Some(payload) = length.checked_sub(42) {
            let mut agreeing = frame(A_REMOTE, A_LOCAL, None, &vec![0x80; payload]);
            let inside = payload.min(long.len() - 42);
            agreeing[42..42 + inside].copy_from_slice(&long[42..42 + inside]);
            agreeing[40..42].fill(0);
            check(&mut scene, &agreeing, false);
        }
    }
    let short = scene.srtp(2, &[0x42; 40]);
    let short = frame(A_REMOTE, A_LOCAL, None, &short);
    let report = scene.srtcp(1);
    let report = frame(A_REMOTE, A_LOCAL, None, &report);
    for original in [&short, &report] {
        for bit in 0..original.len() * 8 {
            let mut flipped = original.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Without its checksum every flip reaches the crypto; bits that no layer protects are the source
            // MAC, the traffic class and the checksum itself.
            flipped[40..42].fill(0);
            let before = scene.out.sent.len();
            check(&mut scene, &flipped, true);
            assert!(bit / 8 < 42 || scene.out.sent.len() == before, "bit {bit} was forwarded");
        }
    }
}

#[test]
fn garbage_has_exactly_one_outcome() {
    let mut scene = Scene::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let valid = frame(A_REMOTE, A_LOCAL, None, &rtp(1, &[1; 300]));
    for round in 1..=20_000_u64 {
        let mut bytes = valid.clone();
        bytes.truncate(random() as usize % 400);
        for _ in 0..random() % 8 {
            if let Some(at) = (random() as usize).checked_rem(bytes.len()) {
                bytes[at] = random() as u8;
            }
        }
        scene.receive(HeapBuffer::new(&bytes, random() as u8));
        assert!(scene.balance().is_exact());
        assert_eq!(scene.balance().rx, round);
    }
    assert!(scene.out.sent.is_empty(), "nothing of it was authentic");
}
