//! A leg whose remote nobody configured: learned from the first packet that authenticates, and again after the
//! remote moved behind its NAT. An attacker who shouts first, or louder, gets nothing.

mod harness;

use std::time::Duration;

use harness::call::connect;
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth, addr};

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for a packet that would come.
const SILENCE: Duration = Duration::from_millis(300);
const CALLEE_SSRC: u32 = 0x0ca1_1ee0;

#[test]
fn media_follows_the_remote_that_authenticates_and_nobody_else() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.84.1.2/24"], &["10.84.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let caller_leg = LegText::new("10.84.1.1:20000", "10.84.1.2:30000");
    let at_home = LegText::new("10.84.2.1:20000", "10.84.2.2:40000");
    let elsewhere = LegText { remote: Some(addr("10.84.2.2:40001")), ..at_home.clone() };
    let attacker_leg =
        LegText { remote: Some(addr("10.84.2.2:40666")), ..LegText::new("10.84.2.1:20000", "10.84.2.2:1") };
    let nobody_knows_where = LegText { remote: None, ..at_home.clone() };
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.84.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.84.2.1/24"]),
        ],
        sessions: vec![SessionText::new("call", caller_leg.clone(), nobody_knows_where)],
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let mut caller = Phone::new(&namespace, &caller_leg, 0xca11, 1000);
    let mut attacker = Phone::new(&namespace, &attacker_leg, CALLEE_SSRC, 5000);
    let mut callee = Phone::new(&namespace, &at_home, CALLEE_SSRC, 1000);

    gateway.wait_for("the forged packets are refused", LIMIT, |scrape| {
        attacker.talk();
        (scrape.drops("b").get("srtp_auth_failed").copied().unwrap_or(0) > 3).then_some(())
    });
    gateway.wait_for("media for nobody is counted", LIMIT, |scrape| {
        caller.talk();
        (scrape.drops("a").get("remote_unknown").copied().unwrap_or(0) > 3).then_some(())
    });
    assert_eq!(attacker.receive(SILENCE), None);
    assert!(attacker.refused.is_empty(), "nothing at all was sent to the attacker");

    connect(&mut callee, &mut caller, LIMIT);
    connect(&mut caller, &mut callee, LIMIT);

    // The NAT gives the callee another port.
    let next = callee.sealer().next_index() + 1;
    let mut moved = Phone::new(&namespace, &elsewhere, CALLEE_SSRC, next);
    connect(&mut moved, &mut caller, LIMIT);
    connect(&mut caller, &mut moved, LIMIT);
    while callee.receive(SILENCE).is_some() {}
    attacker.talk();
    for _ in 0..5 {
        caller.talk();
    }
    assert!(moved.receive(LIMIT).is_some());
    assert_eq!(callee.receive(SILENCE), None, "nothing goes to the old place any more");
    assert_eq!(attacker.receive(SILENCE), None);
    gateway.stop().assert_clean();
    println!("learned a remote, followed it, and told an attacker nothing");
}
