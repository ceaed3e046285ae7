//! Sessions are added, changed and removed while another call talks, over real ports: SIGHUP after the configuration was
//! written anew. The call that stays loses nothing; the one that is gone is refused; one that falls silent ends by itself,
//! and says why.

mod harness;

use std::time::Duration;

use harness::call::connect;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth, wait_until,
};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(30);
/// Packets that each phone of the call that stays sends at each step.
const TURN: usize = 50;

fn sum(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> u64 {
    gateway.scrape().sum(name, labels)
}

struct Call {
    caller: Phone,
    callee: Phone,
}

impl Call {
    fn new(namespace: &Namespace, a: &LegText, b: &LegText) -> Self {
        let number = u32::from(a.local.port());
        let caller = Phone::new(namespace, a, 0xca11_0000 | number, 100);
        let callee = Phone::new(namespace, b, 0xca1e_0000 | number, 200);
        Call { caller, callee }
    }

    /// Every packet of a turn arrives at the other end.
    fn talk(&mut self, when: &str) {
        let Call { caller, callee } = self;
        for _ in 0..TURN {
            caller.talk();
            callee.talk();
            assert!(callee.receive(LIMIT).is_some() && caller.receive(LIMIT).is_some(), "{when}");
        }
    }
}

#[test]
fn calls_come_change_and_go_beside_one_that_talks() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.87.1.2/24"], &["10.87.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let legs = |call: u16| {
        let leg = |net: u8, far: u16| {
            LegText::new(
                &format!("10.87.{net}.1:{}", 20_000 + 2 * call),
                &format!("10.87.{net}.2:{}", far + 2 * call),
            )
        };
        (leg(1, 30_000), leg(2, 40_000))
    };
    let [stays, goes, comes] = [0, 1, 2].map(legs);
    let session = |name: &str, (a, b): &(LegText, LegText)| SessionText::new(name, a.clone(), b.clone());
    let mut config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.87.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.87.2.1/24"]),
        ],
        sessions: vec![session("stays", &stays), session("goes", &goes)],
        state_directory: Some(machine.path("state")),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let [mut first, mut second] = [&stays, &goes].map(|(a, b)| Call::new(&namespace, a, b));
    for call in [&mut first, &mut second] {
        connect(&mut call.caller, &mut call.callee, LIMIT);
        connect(&mut call.callee, &mut call.caller, LIMIT);
    }
    first.talk("at first");
    second.talk("at first");

    // One goes, one comes, and ends by itself when it is silent.
    config.sessions = vec![session("stays", &stays), session("comes", &comes).with("idle_timeout = 2")];
    gateway.reload(&machine, &config);
    first.talk("while the configuration is read");
    let ended = |reason: &str| sum(&gateway, "voxlane_sessions_ended_total", &[("reason", reason)]);
    wait_until("the session to end", LIMIT, || (ended("removed") == 1).then_some(()));
    let refused = || sum(&gateway, "voxlane_dropped_packets_total", &[("reason", "port_unknown")]);
    let before = refused();
    second.caller.talk();
    wait_until("its packets to be refused", LIMIT, || (refused() > before).then_some(()));
    let mut third = Call::new(&namespace, &comes.0, &comes.1);
    connect(&mut third.caller, &mut third.callee, LIMIT);
    third.talk("the new call");
    first.talk("beside the new call");
    assert_eq!(sum(&gateway, "voxlane_sessions", &[]), 2);

    wait_until("the silent call to end", LIMIT, || {
        first.talk("while the other is silent");
        (ended("idle_timeout") == 1).then_some(())
    });
    assert_eq!(sum(&gateway, "voxlane_sessions", &[]), 1, "the one that talks stays");

    // The call that stays moves to another port of its callee.
    let moved = LegText::new("10.87.2.1:20000", "10.87.2.2:45000");
    let moved = LegText { keys: stays.1.keys.clone(), ..moved };
    config.sessions = vec![session("stays", &(stays.0.clone(), moved.clone()))];
    gateway.reload(&machine, &config);
    let changed = || sum(&gateway, "voxlane_sessions_changed_total", &[]);
    wait_until("the change", LIMIT, || (changed() == 1).then_some(()));
    let mut callee = first.callee.moved_to(&namespace, &moved);
    wait_until("the callee to hear at its new port", LIMIT, || {
        first.caller.talk();
        callee.receive(Duration::from_millis(100))
    });
    let stopped = gateway.stop_by(Signal::SIGTERM);
    stopped.assert_clean();
}
