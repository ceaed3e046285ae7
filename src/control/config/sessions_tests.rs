//! Sessions by the thousand: generated, written, loaded again.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::tests::load_with_sessions;
use super::*;
use crate::codec::telephone_event::Events;
use crate::reframe::AacConfig;
use crate::session::{Codec, Strictness};
use crate::srtp::{MasterKey, MasterKeys, Suite};

fn plan(count: usize, suite: Option<Suite>) -> SessionPlan {
    let v4 = |a, b, d| IpAddr::V4(Ipv4Addr::new(10, a, b, d));
    SessionPlan {
        count,
        id_prefix: "call-".into(),
        a: EndpointPlan {
            port: 0,
            local: vec![v4(1, 0, 1), v4(1, 0, 3), v4(1, 0, 4), v4(1, 0, 5)],
            remote: (6..10).map(|host| v4(1, 0, host)).collect(),
            suite,
        },
        b: EndpointPlan {
            port: 1,
            local: vec![v4(2, 0, 1), v4(2, 0, 3), v4(2, 0, 4), v4(2, 0, 5)],
            remote: (6..10).map(|host| v4(2, 0, host)).collect(),
            suite,
        },
        payload_types: PayloadTypes::ALL_BUT_RTCP,
    }
}

#[test]
fn generated_sessions_come_back_from_their_file_as_they_were() {
    let mut sessions = Vec::new();
    for (number, suite) in Suite::ALL.map(Some).into_iter().chain([None]).enumerate() {
        let plan = SessionPlan { id_prefix: format!("{number} \"quoted\" \\ é-"), ..plan(60, suite) };
        let skip = number * 10;
        sessions
            .extend(generate_sessions(plan, system_random).expect("enough addresses").skip(skip).take(10));
    }
    // What the generator never makes must survive the file just as well.
    let address = |text: &str| text.parse().expect("a valid address");
    sessions[0].a.remote_policy = RemotePolicy::Learn;
    sessions[1].a.remote = None;
    sessions[1].a.remote_policy = RemotePolicy::Learn;
    let (local, remote) = (address("10.1.0.1:40001"), address("10.1.0.77:7"));
    sessions[2].a.rtcp = RtcpPolicy::Separate { local, remote: Some(remote) };
    sessions[3].a.remote = None;
    sessions[3].a.remote_policy = RemotePolicy::Learn;
    sessions[3].a.rtcp = RtcpPolicy::Separate { local: address("10.1.0.1:40003"), remote: None };
    sessions[4].a.payload_types = [0, 8, 127].into_iter().collect();
    sessions[4].a.negotiated = Negotiated::of_types(sessions[4].a.payload_types);
    sessions[4].strictness = Strictness::Count;
    sessions[7].b.payload_types = [0, 96, 97, 98, 101, 126].into_iter().collect();
    let format = |payload_type, codec, clock_rate, channels, ptime, unit_ticks| PayloadFormat {
        payload_type,
        codec,
        clock_rate,
        channels,
        ptime,
        unit_ticks,
        aac: AacConfig::NONE,
    };
    let ptime = |min, max| Some(Ptime { min, max });
    sessions[7].b.negotiated = Some(Box::new(Negotiated {
        formats: vec![
            format(0, Codec::Pcmu, 8_000, 1, ptime(200, 200), 0),
            format(96, Codec::Opus, 48_000, 2, ptime(25, 600), 0),
            format(97, Codec::Rfc3640, 44_100, 2, None, 960),
            format(98, Codec::Adts, 16_000, 1, ptime(1_000, 2_000), 1024),
            format(101, Codec::TelephoneEvent, 8_000, 1, None, 0),
        ],
        events: [0, 1, 2, 9, 66, 254, 255].into_iter().fold(Events::NONE, Events::with),
        extensions: Some(vec![(1, 1), (3, 14), (5, 2)]),
    }));
    sessions[5].b.reduced_size_rtcp = false;
    let suite = sessions[6].a.protection.suite().expect("an encrypted leg");
    let key = |fields: &str| {
        let text = format!("{}{fields}", *MasterKey::generate(suite, &mut system_random).to_sdes_inline());
        MasterKey::from_sdes_inline(suite, &text).expect("a valid key")
    };
    let several = MasterKeys::new(vec![key("|2^31|7:4"), key("|8:4"), key("|9:4")]).expect("valid keys");
    sessions[6].a.protection = Protection::Srtp { remote_keys: several, local_keys: key("|1:2").into() };

    let config = load_with_sessions(|path| {
        assert_eq!(write_sessions_file(path, sessions.clone()).expect("the file can be written"), 60);
    });
    assert!(config.unwrap_or_else(|errors| panic!("{errors}")).sessions == sessions);
}

#[test]
fn a_hundred_thousand_sessions_load() {
    let count = 100_000;
    let plan = plan(count, Some(Suite::AeadAes128Gcm));
    // Not random, but all different and fast to make.
    let mut number = 0_u64;
    let unique = |bytes: &mut [u8]| {
        number += 1;
        bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    };
    let sessions = generate_sessions(plan, unique).expect("enough addresses");
    let mut start = Instant::now();
    let config = load_with_sessions(|path| {
        assert_eq!(write_sessions_file(path, sessions).expect("the file can be written"), count);
        start = Instant::now();
    });
    println!("{count} sessions loaded in {:?}", start.elapsed());
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.sessions.len(), config.local_endpoints()), (count, 2 * count));
    assert_eq!(config.sessions[count - 1].id, "call-99999");
    // 27,768 sessions on each of the first three addresses, the rest on the fourth.
    assert_eq!(config.sessions[EVEN_PORTS_PER_ADDRESS].a.local.to_string(), "10.1.0.3:10000");
    assert_eq!(config.sessions[count - 1].b.local.to_string(), "10.2.0.5:43390");
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let generate =
        |plan: SessionPlan| generate_sessions(plan, system_random).map(|_| ()).expect_err("a bad plan");
    let too_many = generate(plan(4 * EVEN_PORTS_PER_ADDRESS + 1, None));
    assert!(matches!(too_many, GenerateError::TooFewAddresses { needed: 5, found: 4, .. }), "{too_many}");
    let mut shared = plan(1, None);
    shared.b.local.clone_from(&shared.a.local);
    assert!(matches!(generate(shared), GenerateError::SharedAddress(_)));
    let mut mixed = plan(1, None);
    mixed.a.remote = vec!["fd00::2".parse().expect("a valid address")];
    assert!(matches!(generate(mixed), GenerateError::MixedFamilies(..)));
}

#[test]
fn a_sessions_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("calls.jsonl");
    fs::write(&path, "old").expect("a file can be written");
    let sessions = generate_sessions(plan(2, None), system_random).expect("enough addresses");
    assert_eq!(write_sessions_file(&path, sessions).expect("the file can be written"), 2);
    let mode = fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_hundred_thousand_broken_lines_show_a_hundred_errors() {
    let errors = load_with_sessions(|path| {
        let mut file = std::io::BufWriter::new(fs::File::create(path).expect("a file can be made"));
        for number in 0..100_000 {
            writeln!(file, "{{\"id\": \"call-{number}\"}}").expect("the file can be written");
        }
    })
    .expect_err("no line has a leg");
    assert_eq!((errors.shown().len(), errors.count()), (SHOWN_ERRORS, 200_000));
    assert!(errors.to_string().ends_with("\nand 199900 more\n200000 errors"));
}
