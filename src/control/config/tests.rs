//! Whole configurations, from text to [`Config`]. What is refused, and in which words, is the business of
//! `tests/check_config.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::dpdk::FrameBucket;
use crate::session::Strictness;
use crate::srtp::{MasterKey, MasterKeys, ReplayWindowSize, Suite};

/// The least that is a configuration.
const MINIMAL: &str = r#"
[gateway]
name = "test"
[cores]
control = [0]
workers = [1]
[[port]]
name = "a"
device = "net_memif0,role=server,id=0"
addresses = ["10.1.0.1/24", "fd00:1::1/64"]
[[port]]
name = "b"
device = "net_memif1,role=server,id=1"
addresses = ["10.2.0.1/24", "10.2.0.3/24", "10.2.0.4/24", "10.2.0.5/24"]
"#;

const KEYS: [&str; 4] = [
    "inline:MDAxIG5vdCBhIHJlYWwga2V5LCBmb3IgdGVzdA==",
    "inline:MDAyIG5vdCBhIHJlYWwga2V5LCBmb3IgdGVzdA",
    "inline:MDAzIG5vdCBhIHJlYWwga2V5LCBmb3IgdGVzdA==",
    "inline:MDA0IG5vdCBhIHJlYWwga2V5LCBmb3IgdGVzdA==",
];

fn parse(text: &str) -> Config {
    Config::parse("test.toml", text, Path::new("/base")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str) -> ConfigErrors {
    Config::parse("test.toml", text, Path::new("/base")).expect_err("the configuration is broken")
}

fn with_session(a: &str, b: &str) -> String {
    let [k1, k2, k3, k4] = KEYS;
    let keys_a = format!("suite = \"AEAD_AES_128_GCM\", remote_key = \"{k1}\", local_key = \"{k2}\"");
    let keys_b = format!("suite = \"AEAD_AES_128_GCM\", remote_key = \"{k3}\", local_key = \"{k4}\"");
    let (a, b) = (a.replace("KEYS", &keys_a), b.replace("KEYS", &keys_b));
    format!("{MINIMAL}[[session]]\nid = \"call-1\"\na = {{ {a} }}\nb = {{ {b} }}\n")
}

/// Loads the minimal configuration with the sessions file that `write` makes at the path it is given.
pub(super) fn load_with_sessions(write: impl FnOnce(&Path)) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    write(&directory.path().join("calls.jsonl"));
    let text = MINIMAL
        .replace("\"10.1.0.1/24\"", "\"10.1.0.1/24\", \"10.1.0.3/24\", \"10.1.0.4/24\", \"10.1.0.5/24\"");
    let path = directory.path().join("test.toml");
    fs::write(&path, format!("{text}[sessions]\nfile = \"calls.jsonl\"\n")).expect("a file can be written");
    Config::load(&path)
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let config = parse(MINIMAL);
    assert_eq!(config.gateway.state_directory.as_deref(), Some(Path::new("/var/lib/voxlane")));
    assert_eq!(
        config.memory,
        Memory { hugepages_mib: 512, buffers: 16_384, frame_buckets: FrameBucket::DEFAULT }
    );
    assert_eq!(config.cores, Cores { control: vec![0], workers: vec![1], allow_shared: false });
    assert_eq!(config.metrics.listen, Some("127.0.0.1:9464".parse().expect("a valid address")));
    let host = HostLimits { arp_per_second: 1000, icmp_per_second: 100, punt_per_second: 10_000 };
    assert_eq!(config.host, host);
    assert_eq!(config.srtp.replay_window, ReplayWindowSize::MAX);
    let port = &config.ports[0];
    assert_eq!((port.mtu, port.rx_descriptors, port.tx_descriptors), (1500, 1024, 1024));
    assert_eq!((port.vlan, port.mac, port.promiscuous, port.udp_checksum), (None, None, false, true));
    assert!(port.gateways.is_empty() && config.sessions.is_empty());
}

#[test]
fn what_is_given_is_taken() {
    let config = parse(
        r#"
        gateway = { name = "voice-1", state_directory = "state" }
        memory.hugepages_mib = 1024
        memory.buffers = 65_536
        memory.frame_buckets = [{ bytes = 64, frames = 4 }, { bytes = 1600, frames = 8 }, { bytes = 9216, frames = 16 }]
        cores = { control = [2, 3], workers = [0, 1] }
        metrics.listen = "none"
        host = { arp_per_second = 1, icmp_per_second = 2, punt_per_second = 3 }
        srtp.replay_window = 128
        [[port]]
        name = "access"
        device = "AF:00.1"
        addresses = ["192.0.2.1/24", "2001:db8::1/64"]
        gateways = ["192.0.2.254", "fe80::1"]
        vlan = 4094
        mtu = 1280
        rx_descriptors = 64
        tx_descriptors = 8192
        mac = "02:00:00:00:00:01"
        promiscuous = true
        udp_checksum = false
        "#,
    );
    let Gateway { name, state_directory } = &config.gateway;
    assert_eq!((name.as_str(), state_directory.as_deref()), ("voice-1", Some(Path::new("/base/state"))));
    let frame_buckets = [(64, 4), (1600, 8), (9216, 16)].map(|(bytes, frames)| FrameBucket { bytes, frames });
    assert_eq!(config.memory, Memory { hugepages_mib: 1024, buffers: 65_536, frame_buckets });
    assert_eq!(config.cores, Cores { control: vec![2, 3], workers: vec![0, 1], allow_shared: false });
    assert_eq!(config.metrics.listen, None);
    assert_eq!(config.host, HostLimits { arp_per_second: 1, icmp_per_second: 2, punt_per_second: 3 });
    assert_eq!(config.srtp.replay_window.packets(), 128);
    let expected = Port {
        name: "access".into(),
        device: Device::Pci("0000:af:00.1".into()),
        addresses: vec!["192.0.2.1/24".parse().expect("valid"), "2001:db8::1/64".parse().expect("valid")],
        gateways: vec!["192.0.2.254".parse().expect("valid"), "fe80::1".parse().expect("valid")],
        vlan: Some(4094),
        mtu: 1280,
        rx_descriptors: 64,
        tx_descriptors: 8192,
        mac: Some("02:00:00:00:00:01".parse().expect("valid")),
        promiscuous: true,
        udp_checksum: false,
    };
    assert_eq!(config.ports, [expected]);
}

#[test]
fn state_is_kept_nowhere_if_so_configured() {
    let text = MINIMAL.replace("name = \"test\"", "name = \"test\"\nstate_directory = \"none\"");
    assert_eq!(parse(&text).gateway.state_directory, None);
}

#[test]
fn a_session_has_its_ports_keys_and_policies() {
    let config = parse(&with_session(
        "local = \"[fd00:1::1]:20000\", remote = \"[fd00:1::2]:30000\", KEYS, payload_types = [96, 0]",
        "local = \"10.2.0.1:20000\", KEYS, rtcp = \"next\", reduced_size_rtcp = false",
    ));
    let Session { id, a, b, strictness, .. } = &config.sessions[0];
    assert_eq!(*strictness, Strictness::Enforce);
    assert_eq!((id.as_str(), a.port, b.port), ("call-1", 0, 1));
    assert_eq!(a.local.to_string(), "[fd00:1::1]:20000");
    assert_eq!(a.remote.map(|remote| remote.to_string()).as_deref(), Some("[fd00:1::2]:30000"));
    assert_eq!((a.remote_policy, a.rtcp, a.reduced_size_rtcp), (RemotePolicy::Pinned, RtcpPolicy::Mux, true));
    assert_eq!(a.payload_types.iter().collect::<Vec<_>>(), [0, 96]);
    let key = |number: usize| {
        let key = MasterKey::from_sdes_inline(Suite::AeadAes128Gcm, KEYS[number]);
        MasterKeys::from(key.expect("a valid key"))
    };
    assert_eq!(a.protection, Protection::Srtp { remote_keys: key(0), local_keys: key(1) });
    assert_eq!(b.protection, Protection::Srtp { remote_keys: key(2), local_keys: key(3) });
    let rtcp = RtcpPolicy::Separate { local: "10.2.0.1:20001".parse().expect("valid"), remote: None };
    assert_eq!((b.remote, b.remote_policy, b.rtcp), (None, RemotePolicy::Learn, rtcp));
    assert_eq!((b.payload_types, b.reduced_size_rtcp), (PayloadTypes::ALL_BUT_RTCP, false));
    assert_eq!(config.local_endpoints(), 3);
}

#[test]
fn rtcp_ports_follow_rtp_unless_given() {
    let session = |more: &str| {
        let leg = format!("local = \"10.1.0.1:20000\", remote = \"10.1.0.2:30000\", KEYS, {more}");
        let other = "local = \"10.2.0.1:20000\", remote = \"10.2.0.2:30000\", suite = \"none\"";
        parse(&with_session(&leg, other)).sessions.remove(0)
    };
    let separate = |local: &str, remote: &str| RtcpPolicy::Separate {
        local: local.parse().expect("a valid address"),
        remote: Some(remote.parse().expect("a valid address")),
    };
    assert_eq!(session("rtcp = \"mux\"").a.rtcp, RtcpPolicy::Mux);
    assert_eq!(session("rtcp = \"next\"").a.rtcp, separate("10.1.0.1:20001", "10.1.0.2:30001"));
    assert_eq!(session("rtcp = 40000").a.rtcp, separate("10.1.0.1:40000", "10.1.0.2:30001"));
    let given = session("rtcp = \"next\", remote_rtcp = \"10.1.0.9:5\"");
    assert_eq!(given.a.rtcp, separate("10.1.0.1:20001", "10.1.0.9:5"));
    assert_eq!(given.b.protection, Protection::Plain);
    // Types that would pass for RTCP are fine where RTCP has a port of its own.
    assert!(session("rtcp = \"next\", payload_types = [72]").a.payload_types.contains(72));
}

#[test]
fn two_remote_ends_may_share_a_key_but_no_two_legs_may_seal_with_one() {
    let [k1, k2, k3, _] = KEYS;
    let text = |remote_b: &str, local_b: &str| {
        with_session(
            "local = \"10.1.0.1:20000\", remote = \"10.1.0.2:30000\", KEYS",
            &format!(
                "local = \"10.2.0.1:20000\", remote = \"10.2.0.2:30000\", suite = \"AEAD_AES_128_GCM\", \
                 remote_key = \"{remote_b}\", local_key = \"{local_b}\""
            ),
        )
    };
    assert_eq!(parse(&text(k1, k3)).sessions.len(), 1);
    for (remote_b, local_b) in [(k3, k2), (k3, k1), (k2, k3), (k3, k3)] {
        let errors = refused(&text(remote_b, local_b));
        assert_eq!(errors.count(), 1, "{errors}");
        assert!(errors.to_string().contains("so nonces would repeat"), "{errors}");
    }
}

#[test]
fn key_material_is_in_no_debug_print() {
    let config = parse(&with_session(
        "local = \"10.1.0.1:20000\", remote = \"10.1.0.2:30000\", KEYS",
        "local = \"10.2.0.1:20000\", remote = \"10.2.0.2:30000\", KEYS",
    ));
    let debug = format!("{config:?} {config:#?}");
    assert!(debug.contains("redacted"), "{debug}");
    for key in KEYS {
        let base64 = key.trim_start_matches("inline:");
        assert!(!debug.contains(&base64[..12]), "{debug}");
    }
    // Neither as bytes: the keys are ASCII text, printed as a list of numbers it would begin so.
    assert!(!debug.contains("not a real key") && !debug.contains("48, 48, 49"), "{debug}");
}

#[test]
fn all_shipped_profiles_are_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dpdk-config");
    let entries = fs::read_dir(&directory).expect("the profiles are in the repository");
    let profiles: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the directory is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(profiles.len() >= 4, "{profiles:?}");
    for path in profiles {
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.ports.len() == 2 && !config.sessions.is_empty(), "{}", path.display());
    }
}

#[test]
fn files_that_cannot_be_read_are_errors_too() {
    let missing = Config::load(Path::new("/no/such/file.toml")).expect_err("there is no such file");
    let expected = "/no/such/file.toml: cannot be read: No such file or directory; give the path of a configuration file\n1 error";
    assert_eq!(missing.to_string(), expected);

    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("latin1.toml");
    fs::write(&path, b"[gateway]\nname = \"caf\xe9\"\n").expect("a file can be written");
    let latin1 = Config::load(&path).expect_err("the file is not UTF-8");
    assert_eq!(
        latin1.to_string(),
        format!("{}:2: not valid UTF-8; save the file as UTF-8 text\n1 error", path.display())
    );

    let errors = load_with_sessions(|path| fs::create_dir(path).expect("a directory can be made"))
        .expect_err("the sessions file is a directory");
    assert!(errors.to_string().contains("calls.jsonl cannot be read: Is a directory; "), "{errors}");

    let errors = load_with_sessions(|path| fs::write(path, b"\n\xff\n").expect("a file can be written"))
        .expect_err("the sessions file is not UTF-8");
    assert!(errors.to_string().contains("calls.jsonl:2: not valid UTF-8; "), "{errors}");
}

/// Deterministic damage to a good configuration: whatever becomes of it, nothing panics and no key shows.
#[test]
fn damaged_configurations_never_panic_and_never_show_a_key() {
    let text = with_session(
        "local = \"10.1.0.1:20000\", remote = \"10.1.0.2:30000\", KEYS, rtcp = \"next\", payload_types = [96]",
        "local = \"10.2.0.1:20000\", KEYS",
    );
    let damage = [" ", "\"", "=", "[", "]", "{", "}", "\n", "0", "-", "é", "#"];
    let positions = text.char_indices().map(|(at, _)| at);
    for (number, at) in positions.enumerate() {
        let (head, tail) = text.split_at(at);
        let inserted = format!("{head}{}{tail}", damage[number % damage.len()]);
        for broken in [head.to_owned(), inserted] {
            let Err(errors) = Config::parse("t", &broken, Path::new("")) else {
                continue;
            };
            let shown = errors.to_string();
            assert!(!shown.contains("MDA") && !shown.contains("not a real key"), "{shown}");
        }
    }
}

/// The readers know their keys: an unknown one makes them list all. Each must have its row in the manual.
#[test]
fn every_key_is_in_the_manual() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let manual = fs::read_to_string(manual).expect("the manual is in the repository");
    let leg = "{ local = \"10.1.0.1:20000\", zzzzzz = 1 }";
    let text = format!(
        "zzzzzz = 1\ngateway.zzzzzz = 1\nmemory.zzzzzz = 1\ncores.zzzzzz = 1\nmetrics.zzzzzz = 1\nhost.zzzzzz = 1\n\
         srtp.zzzzzz = 1\ngate.zzzzzz = 1\nsessions.zzzzzz = 1\n[[port]]\nzzzzzz = 1\n[[session]]\nzzzzzz = 1\na = {leg}\nb = {leg}\n"
    );
    let errors = refused(&text);
    let mut keys = 0;
    for error in errors.shown().iter().filter(|error| error.message.ends_with("unknown key \"zzzzzz\"")) {
        let list = error.remedy.trim_start_matches("use one of ").trim_end_matches(", or remove it");
        for key in list.split(", ") {
            keys += 1;
            // A section has a heading, every other key a row.
            let row = format!("\n| `{key}` | ");
            let headings = [format!("\n## `[{key}]`"), format!("\n## `[[{key}]]`")];
            let found = manual.contains(&row) || headings.iter().any(|heading| manual.contains(heading));
            assert!(found, "{key} is not in docs/configuration.md");
        }
    }
    assert!(keys > 45, "only {keys} keys were listed: {errors}");
}
