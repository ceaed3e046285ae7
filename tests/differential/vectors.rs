//! The reference itself, held against the RFCs' own vectors and against what RFC 3711 says of a change of keys.

use std::collections::BTreeMap;

use crate::reference::srtp::{MasterKey, SUITES, SessionKeys, Suite, derive};
use crate::reference::{Gateway, Leg, LegKeys, MKI_UNKNOWN, Outcome, Port, Session, World, link, receiver};
use crate::{hex, suite};

/// One section of a file in `tests/vectors`.
type Section = (String, BTreeMap<String, String>);

fn sections(text: &str) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix('[') {
            all.push((title.trim_end_matches(']').to_owned(), BTreeMap::new()));
        } else {
            let (key, value) = line.split_once(" = ").expect("key = value");
            all.last_mut().expect("a section first").1.insert(key.to_owned(), value.to_owned());
        }
    }
    all
}

fn octets(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn master(suite: Suite, key: &str, salt: &str) -> MasterKey {
    MasterKey { suite, key: octets(key), salt: octets(salt), mki: Vec::new() }
}

#[test]
fn keys_are_derived_as_in_rfc_3711_and_rfc_6188() {
    let mut checked = 0;
    for (title, values) in sections(include_str!("../vectors/rfc3711-kdf.txt")) {
        let Some(key) = values.get("master_key") else { continue };
        let suite = SUITES.iter().find(|suite| !suite.aead && suite.key_len * 2 == key.len());
        let master = master(*suite.expect("128 or 256 bits"), key, &values["master_salt"]);
        for label in 0..3 {
            let expected = &values[&format!("label_{label:02x}")];
            assert_eq!(hex(&derive(&master, label, expected.len() / 2)), *expected, "{title}, label {label}");
            checked += 1;
        }
    }
    assert_eq!(checked, 6);
}

#[test]
fn gcm_packets_are_those_of_rfc_7714() {
    let mut checked = 0;
    for (title, values) in sections(include_str!("../vectors/rfc7714.txt")) {
        let (Some(plain), Some(sealed)) = (values.get("plain"), values.get("sealed")) else { continue };
        let keys =
            SessionKeys::raw(suite(&values["suite"]), &octets(&values["key"]), &octets(&values["salt"]));
        let (plain, sealed) = (octets(plain), octets(sealed));
        if let Some(index) = values.get("index") {
            let index = u32::from_str_radix(index, 16).expect("hex");
            assert_eq!(hex(&keys.seal_rtcp(&plain, index, true)), hex(&sealed), "{title}");
            assert_eq!(keys.rtcp_index(&sealed).index, index, "{title}");
            assert_eq!(keys.open_rtcp(&sealed).expect("authentic"), plain, "{title}");
        } else {
            let seq = u64::from(u16::from_be_bytes([plain[2], plain[3]]));
            assert_eq!(hex(&keys.seal_rtp(&plain, 12, seq)), hex(&sealed), "{title}");
            assert_eq!(keys.open_rtp(&sealed, 12, seq).expect("authentic"), plain, "{title}");
        }
        checked += 1;
    }
    assert_eq!(checked, 4);
}

/// The packets by which libsrtp checks itself (`srtp_validate` and `srtp_validate_aes_256` of its `srtp_driver.c`).
#[test]
fn counter_mode_packets_are_those_of_libsrtp() {
    let plain = octets("800f1234decafbadcafebabeabababababababababababababababab");
    for (name, key, salt, sealed) in [
        (
            "AES_CM_128_HMAC_SHA1_80",
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        ),
        (
            "AES_256_CM_HMAC_SHA1_80",
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
        ),
    ] {
        let keys = SessionKeys::new(&master(suite(name), key, salt));
        assert_eq!(hex(&keys.seal_rtp(&plain, 12, 0x1234)), sealed, "{name}");
        assert_eq!(keys.open_rtp(&octets(sealed), 12, 0x1234).expect("authentic"), plain, "{name}");
    }
}

/// One session between two ports; what the remote of leg 0 seals is opened with one of `keys`.
fn world(keys: &[MasterKey]) -> World {
    let port = |number: u8| Port {
        mac: [2, 0, 0, 0, 0, number],
        vlan: None,
        addresses: vec![[10, 0, number, 1].into()],
        mtu: 1500,
        udp_checksum: true,
    };
    let leg = |number: u8| Leg {
        port: number.into(),
        local: ([10, 0, number, 1], 20_000).into(),
        remote: ([10, 0, number, 2], 30_000).into(),
        rtcp: None,
        keys: Some(LegKeys { remote: keys.to_vec(), local: keys[0].clone() }),
        payload_types: u128::MAX,
        reduced_size_rtcp: false,
        next_hop: Some([2; 6]),
    };
    World {
        ports: vec![port(0), port(1)],
        sessions: vec![Session { legs: [leg(0), leg(1)] }],
        window: 64,
        rtcp_window: 64,
    }
}

#[test]
fn a_change_of_keys_loses_nothing_and_leaves_nothing() {
    for suite in SUITES {
        let key = |fill: u8| MasterKey {
            suite,
            key: vec![fill; suite.key_len],
            salt: vec![fill ^ 0x55; suite.salt_len],
            mki: vec![0, 0, fill],
        };
        let (old, new) = (key(1), key(2));
        let world = world(std::slice::from_ref(&old));
        let mut gateway = Gateway::new(world.clone());
        let leg = &world.sessions[0].legs[0];
        let packet = |keys: &MasterKey, index: u64| {
            let mut rtp = vec![0x80, 96];
            rtp.extend((index as u16).to_be_bytes());
            rtp.extend([7; 8 + 20]);
            let sealed = SessionKeys::new(keys).seal_rtp(&rtp, 12, index);
            link::write(&world.ports[0], world.ports[0].mac, leg.remote, leg.local, &sealed)
        };
        // What leaves is under leg 1's key, which stays.
        let expected = |index: u64| {
            let mut rtp = vec![0x80, 96];
            rtp.extend((index as u16).to_be_bytes());
            rtp.extend([7; 8 + 20]);
            let (port, to) = (&world.ports[1], &world.sessions[0].legs[1]);
            let sealed = SessionKeys::new(&old).seal_rtp(&rtp, 12, index);
            Outcome::Sent(1, link::write(port, [2; 6], to.local, to.remote, &sealed))
        };
        let name = suite.name;
        assert_eq!(gateway.receive(0, &packet(&old, 65_534)), expected(65_534), "{name}");
        assert_eq!(gateway.receive(0, &packet(&new, 65_535)), Outcome::Dropped(MKI_UNKNOWN), "{name}");
        let both = LegKeys { remote: vec![old.clone(), new.clone()], local: old.clone() };
        gateway.rekey(0, 0, both);
        // The roll-over counter goes on, and so does the window: an index is used once, whatever its key.
        for (keys, index) in [(&new, 65_536), (&old, 65_535), (&new, 65_538), (&old, 65_537)] {
            assert_eq!(gateway.receive(0, &packet(keys, index)), expected(index), "{name}, index {index}");
        }
        assert_eq!(gateway.receive(0, &packet(&old, 65_538)), Outcome::Dropped("srtp_replayed"), "{name}");
        gateway.rekey(0, 0, LegKeys { remote: vec![new.clone()], local: old.clone() });
        assert_eq!(gateway.receive(0, &packet(&old, 65_539)), Outcome::Dropped(MKI_UNKNOWN), "{name}");
        assert_eq!(gateway.receive(0, &packet(&new, 65_539)), expected(65_539), "{name}");
    }
}

#[test]
fn the_guess_of_the_roll_over_counter_is_that_of_appendix_a() {
    for (roc, s_l, seq, expected) in [
        (5, 0xfffe, 3, Ok(6 << 16 | 3)),
        (6, 3, 0xfffe, Ok(5 << 16 | 0xfffe)),
        (6, 3, 4, Ok(6 << 16 | 4)),
        (9, 0x1000, 0x9000, Ok(9 << 16 | 0x9000)),
        (9, 0x1000, 0x9001, Ok(8 << 16 | 0x9001)),
        (9, 0x9000, 0x0fff, Ok(10 << 16 | 0x0fff)),
        (u32::MAX, 0xffff, 0, Err("key_exhausted")),
    ] {
        let mut history = receiver::RtpHistory::default();
        (history.ssrc, history.roc, history.s_l) = (Some(1), roc, s_l);
        assert_eq!(history.admit(1, seq, u64::MAX), expected, "{roc} {s_l} {seq}");
    }
}
