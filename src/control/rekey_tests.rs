//! What becomes of new keys between the configuration and a worker's queue.

use std::path::Path;

use super::*;
use crate::control::config::Config;
use crate::control::sessions::SessionError;
use crate::control::sessions::table::tests::Scene;
use crate::fastpath::Command;
use crate::session::{KeyChange, StreamId};
use crate::srtp::tests::master;

const GCM: Suite = Suite::AeadAes128Gcm;

/// Three calls over two workers; the keys of leg a of `call-1` are `remote` and `local`.
fn config(suite: Suite, remote: &[String], local: &str) -> Config {
    let mut text = "[gateway]\nname = \"test\"\n[cores]\ncontrol = [0]\nworkers = [1, 2]\n".to_owned();
    for (number, name) in ["a", "b"].into_iter().enumerate() {
        text += &format!(
            "[[port]]\nname = \"{name}\"\ndevice = \"net_memif{number},role=server,id={number}\"\n\
             addresses = [\"10.{number}.0.1/24\"]\n"
        );
    }
    for call in 0..3 {
        text += &format!("[[session]]\nid = \"call-{call}\"\n");
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            let port = 20_000 + 2 * call;
            let fixed = |which| sdes(GCM, 100 + 10 * call + 2 * number as u64 + which, "");
            let keys = match (call, name) {
                (1, "a") => format!("suite = \"{suite}\", remote_key = {remote:?}, local_key = {local:?}"),
                _ => format!("suite = \"{GCM}\", remote_key = {:?}, local_key = {:?}", fixed(0), fixed(1)),
            };
            text += &format!(
                "{name} = {{ local = \"10.{number}.0.1:{port}\", remote = \"10.{number}.0.2:{port}\", {keys} }}\n"
            );
        }
    }
    Config::parse("test.toml", &text, Path::new("/base")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn sdes(suite: Suite, number: u64, mki: &str) -> String {
    format!("{}{mki}", *master(suite, number).to_sdes_inline())
}

/// The change of keys that waits for a worker.
fn planned(scene: &mut Scene) -> (usize, KeyChange) {
    let mut commands = scene.commands();
    let Some((worker, Command::SetKeys(change))) = commands.pop() else { panic!("a change of keys") };
    assert!(commands.is_empty(), "{commands:?}");
    (worker, *change)
}

#[test]
fn a_change_goes_to_the_streams_of_its_leg() {
    let old = config(GCM, &[sdes(GCM, 1, "")], &sdes(GCM, 2, ""));
    let mut scene = Scene::new(&old);
    let report = scene.apply(&config(GCM, &[sdes(GCM, 3, "")], &sdes(GCM, 2, "")));
    assert_eq!(report.changed, ["call-1"]);
    let (worker, change) = planned(&mut scene);
    assert_eq!((worker, change.inbound, change.outbound), (1, StreamId(0), StreamId(1)));
    assert!(change.open.is_some() && change.seal.is_none(), "only the remote's key is new");

    // Call 2 is the second of the first worker; leg b sends the second of its streams.
    let new = old.sessions[0].b.protection.clone();
    let result = scene.sessions.set_keys("call-2", LegName::B, &new);
    assert!(matches!(result, Err(RekeyError::KeyLeft)), "the local key of call 0 is in use");
    let Protection::Srtp { local_keys, .. } = old.sessions[2].b.protection.clone() else {
        panic!("protected")
    };
    let new = Protection::Srtp { remote_keys: master(GCM, 9).into(), local_keys };
    assert!(scene.sessions.set_keys("call-2", LegName::B, &new).expect("fine"));
    let (worker, change) = planned(&mut scene);
    assert_eq!((worker, change.inbound, change.outbound), (0, StreamId(3), StreamId(2)));
    assert!(!scene.sessions.set_keys("call-2", LegName::B, &new).expect("it has them"));
    assert!(scene.commands().is_empty());
    let unknown = scene.sessions.set_keys("call-7", LegName::B, &new);
    assert!(matches!(unknown, Err(RekeyError::UnknownSession { .. })));
}

#[test]
fn a_local_key_that_was_left_is_never_taken_up_again() {
    let keys = |local| config(GCM, &[sdes(GCM, 1, "")], &sdes(GCM, local, ""));
    let mut scene = Scene::new(&keys(2));
    assert_eq!(scene.apply(&keys(3)).changed.len(), 1);
    assert!(planned(&mut scene).1.seal.is_some());
    let report = scene.apply(&keys(2));
    assert!(report.changed.is_empty() && scene.commands().is_empty());
    assert!(matches!(report.refused[..], [(_, SessionError::Keys { reason: RekeyError::KeyLeft, .. })]));
    assert_eq!(scene.apply(&keys(4)).changed.len(), 1, "another fresh key is welcome");
}

#[test]
fn suite_and_length_of_the_mki_stay_while_a_leg_runs() {
    let cm = Suite::AesCm128HmacSha1_80;
    let protection = |config: Config| config.sessions[1].a.protection.clone();
    let old = protection(config(GCM, &[sdes(GCM, 1, "")], &sdes(GCM, 2, "")));
    let refused = |new: Protection| plan(&old, &new, &[]).expect_err("refused");
    let suite = refused(protection(config(cm, &[sdes(cm, 1, "")], &sdes(cm, 2, ""))));
    assert!(matches!(suite, RekeyError::Suite { was: GCM, .. }), "{suite}");
    let mki = refused(protection(config(GCM, &[sdes(GCM, 1, "|1:4")], &sdes(GCM, 2, ""))));
    assert!(matches!(mki, RekeyError::MkiLength { was: 0, now: 4 }), "{mki}");
    assert!(matches!(refused(Protection::Plain), RekeyError::Plain));
    assert!(matches!(plan(&Protection::Plain, &Protection::Plain, &[]), Ok(None)));
}

/// Without MKIs the stream needs the keys before the new one; it needs no more than a few, and none twice.
#[test]
fn earlier_keys_of_the_remote_are_kept_for_late_packets() {
    let keys = |remote| config(GCM, &[sdes(GCM, remote, "")], &sdes(GCM, 2, ""));
    let mut scene = Scene::new(&keys(10));
    let numbers = |set: &KeySet| {
        let number = |n: &u64| set.position_of(&master(GCM, *n).fingerprint()).map(|at| (at, *n));
        let mut found: Vec<_> = (10..20).filter_map(|n| number(&n)).collect();
        found.sort();
        found.into_iter().map(|(_, n)| n).collect::<Vec<_>>()
    };
    for (new, expected) in [
        (11, vec![10, 11]),
        (12, vec![10, 11, 12]),
        (13, vec![10, 11, 12, 13]),
        (14, vec![11, 12, 13, 14]),
        (13, vec![11, 12, 14, 13]),
    ] {
        assert_eq!(scene.apply(&keys(new)).changed.len(), 1);
        let set = planned(&mut scene).1.open.expect("a set");
        assert_eq!(numbers(&set), expected);
    }
}

/// With MKIs the configuration says which keys there are.
#[test]
fn with_mkis_the_keys_are_those_of_the_configuration() {
    let key = |number: u64| sdes(GCM, number, &format!("|{number}:2"));
    let mut scene = Scene::new(&config(GCM, &[key(10)], &sdes(GCM, 2, "")));
    let report = scene.apply(&config(GCM, &[key(12), key(11)], &sdes(GCM, 2, "")));
    assert_eq!(report.changed.len(), 1, "{report:?}");
    let set = planned(&mut scene).1.open.expect("a set");
    let at = |number| set.position_of(&master(GCM, number).fingerprint());
    assert_eq!((at(10), at(11), at(12)), (None, Some(1), Some(0)));
}
