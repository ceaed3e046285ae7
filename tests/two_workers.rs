//! Two workers over two queues of each port: the driver spreads flows over the queues without asking where their
//! streams are homed, so packets are handed over, and each is relayed exactly once.

mod harness;

use std::time::Duration;

use harness::call::connect;
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth};

const LIMIT: Duration = Duration::from_secs(30);
const CALLS: u16 = 12;
const PACKETS: usize = 50;

#[test]
fn packets_on_the_wrong_queue_are_handed_over_and_relayed_once() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.85.1.2/24"], &["10.85.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let port = |name, number: usize, address| {
        let device = format!("{},qpairs=2", veths[number].device("net_af_packet", number));
        PortText::new(name, device, &[address])
    };
    let session = |call: u16| {
        let leg = |net: u16| {
            LegText::new(
                &format!("10.85.{net}.1:{}", 20_000 + 2 * call),
                &format!("10.85.{net}.2:{}", 30_000 + 2 * call),
            )
        };
        SessionText::new(&format!("call-{call}"), leg(1), leg(2))
    };
    let config = ConfigText {
        ports: vec![port("a", 0, "10.85.1.1/24"), port("b", 1, "10.85.2.1/24")],
        sessions: (0..CALLS).map(session).collect(),
        workers: voxlane::dpdk::allowed_cores().into_iter().take(2).collect(),
        allow_shared: true,
        ..ConfigText::default()
    };
    assert_eq!(config.workers.len(), 2, "this test needs two cores");
    let gateway = Gateway::start(&machine, &config);
    let mut heard = 0;
    for session in &config.sessions {
        let mut caller = Phone::new(&namespace, &session.a, 1, 1);
        let mut callee = Phone::new(&namespace, &session.b, 2, 1);
        connect(&mut caller, &mut callee, LIMIT);
        connect(&mut callee, &mut caller, LIMIT);
        for _ in 0..PACKETS {
            caller.talk();
            assert!(callee.receive(LIMIT).is_some(), "{}: lost", session.id);
            callee.talk();
            assert!(caller.receive(LIMIT).is_some(), "{}: lost", session.id);
            heard += 2;
        }
        // The phones insist that no index comes twice.
        assert!(caller.refused.is_empty() && callee.refused.is_empty());
    }
    let stopped = gateway.stop();
    stopped.assert_clean();
    let (out, taken) = (stopped.total("handed_out"), stopped.total("handed_in"));
    assert_eq!(out, taken, "what one worker gives the other takes");
    assert!(out > 0, "{CALLS} calls and not one packet on the wrong queue");
    println!("{heard} packets relayed by two workers, {out} of them handed over");
}
