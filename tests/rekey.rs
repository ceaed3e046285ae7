//! Keys change in the middle of a call: SIGHUP after the configuration was written anew, one leg without MKIs and one
//! with them, new keys in all four directions at four different moments. Nothing is lost, doubled or refused.

mod harness;

use std::time::Duration;

use harness::call::connect;
use harness::config_text::LegKeys;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth, wait_until,
};
use nix::sys::signal::Signal;
use voxlane::control::config::system_random;
use voxlane::srtp::{MasterKey, Suite};

const LIMIT: Duration = Duration::from_secs(30);
/// Packets that each phone sends before it waits for the other's.
const TURN: usize = 8;
const TURNS: usize = 60;
/// Turns before which: the gateway is told, the caller changes its key, the callee does.
const TOLD: usize = 15;
const CALLER_CHANGES: usize = 25;
const CALLEE_CHANGES: usize = 35;

/// A fresh key that packets name by `mki`, or not at all.
fn key(suite: Suite, mki: Option<u32>) -> MasterKey {
    let key = MasterKey::generate(suite, &mut { system_random });
    let Some(mki) = mki else { return key };
    let text = format!("{}|{mki}:4", *key.to_sdes_inline());
    MasterKey::from_sdes_inline(suite, &text).expect("a valid key")
}

/// The leg with new keys; with MKIs, the remote may still seal with the old one.
fn rekeyed(leg: &LegText, mki: Option<u32>) -> LegText {
    let old = leg.keys();
    let earlier_remote = if mki.is_some() { vec![old.remote.clone()] } else { Vec::new() };
    let (remote, local) = (key(old.suite, mki), key(old.suite, mki.map(|mki| mki + 100)));
    LegText { keys: Some(LegKeys { suite: old.suite, remote, local, earlier_remote }), ..leg.clone() }
}

#[test]
fn new_keys_in_the_middle_of_a_call_lose_nothing() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.86.1.2/24"], &["10.86.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let a = LegText::new("10.86.1.1:20000", "10.86.1.2:30000");
    let (suite, b) = (Suite::AesCm128HmacSha1_80, LegText::new("10.86.2.1:20000", "10.86.2.2:40000"));
    let keys = LegKeys {
        suite,
        remote: key(suite, Some(1)),
        local: key(suite, Some(101)),
        earlier_remote: vec![key(suite, Some(3))],
    };
    // The callee starts with the second of the keys that were agreed.
    let second = LegKeys { remote: keys.earlier_remote[0].clone(), ..keys.clone() };
    let b_second = LegText { keys: Some(second), ..b.clone() };
    let b = LegText { keys: Some(keys), ..b };
    let mut config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.86.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.86.2.1/24"]),
        ],
        sessions: vec![SessionText::new("call", a.clone(), b.clone())],
        state_directory: Some(machine.path("state")),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let mut caller = Phone::new(&namespace, &a, 0xca11, 65_300);
    let mut callee = Phone::new(&namespace, &b_second, 0x00ca_11ee, 65_300);
    connect(&mut caller, &mut callee, LIMIT);
    connect(&mut callee, &mut caller, LIMIT);
    callee.sealer().rekey(&b);

    let (new_a, new_b) = (rekeyed(&a, None), rekeyed(&b, Some(2)));
    let first = [caller.sealer().next_index(), callee.sealer().next_index()];
    for turn in 0..TURNS {
        if turn == TOLD {
            caller.also_opens(&new_a);
            callee.also_opens(&new_b);
            config.sessions = vec![SessionText::new("call", new_a.clone(), new_b.clone())];
            gateway.reload(&machine, &config);
        }
        if turn == TOLD + 2 {
            let told = || gateway.log().contains("sessions read again").then_some(());
            wait_until("the gateway to read its keys again", LIMIT, told);
        }
        if turn == CALLER_CHANGES {
            caller.sealer().rekey(&new_a);
        }
        if turn == CALLEE_CHANGES {
            callee.sealer().rekey(&new_b);
        }
        for _ in 0..TURN {
            caller.talk();
            callee.talk();
        }
        for (phone, name) in [(&mut caller, "caller"), (&mut callee, "callee")] {
            for _ in 0..TURN {
                let heard = phone.receive(LIMIT);
                assert!(heard.is_some(), "the {name} misses a packet of turn {turn}\n{}", gateway.log());
            }
        }
    }
    let packets = (TURN * TURNS) as u64;
    for (phone, first) in [(&callee, first[0]), (&caller, first[1])] {
        let heard: Vec<u64> = phone.heard.range(first..).copied().collect();
        assert_eq!(heard, (first..first + packets).collect::<Vec<_>>(), "each index once");
        assert!(phone.refused.is_empty(), "{:?}", phone.refused);
        let [before, after] = phone.heard_by_key()[..] else { panic!("two keys") };
        assert!(before > TURN && after > TURN, "heard under the old and the new key: {before}, {after}");
    }
    // Back to a key that was left: refused, and the call goes on.
    config.sessions = vec![SessionText::new("call", a.clone(), new_b.clone())];
    gateway.reload(&machine, &config);
    wait_until("the refusal of a key that was left", LIMIT, || {
        gateway.log().contains("the session stays as it is").then_some(())
    });
    caller.talk();
    assert!(callee.receive(LIMIT).is_some());
    gateway.stop_by(Signal::SIGTERM).assert_clean();
    println!("{packets} packets each way over four changes of keys");
}
