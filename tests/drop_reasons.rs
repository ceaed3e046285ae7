//! Every reason for which a peer can make the gateway drop a frame, provoked over a real port by one frame made
//! for it: exactly that counter moves, by exactly one.
//!
//! [`elsewhere`] accounts for the other reasons: the test that provokes each, or why no peer can.

#[path = "drop_reasons/cases.rs"]
mod cases;
mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cases::LOCAL;
use harness::call::PAYLOAD_TYPE;
use harness::config_text::LegKeys;
use harness::raw_socket::RawSocket;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, capture, frame,
};
use voxlane::fastpath::DropReason;
use voxlane::srtp::MasterKey;

#[test]
fn each_reason_counts_the_frame_made_for_it_and_nothing_else() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    // The kernel inside has no address and stays silent: whatever arrives at the gateway comes from here.
    let [a, b, small] = std::array::from_fn(|_| Veth::new(&namespace, &[]));
    let pcap = machine.path("frames.pcap");
    let too_long = frame::ethernet(frame::BROADCAST, [2; 6], 0x0800, &[0; 5_000]);
    capture::write(&pcap, [vec![0xff; 10], too_long]);

    let config = config(&a, &b, &small, &pcap);
    let socket = RawSocket::open(&namespace, &a);
    let gateway = Gateway::start(&machine, &config);

    let from_file = gateway.wait_for("the frames of the capture file", Duration::from_secs(10), |page| {
        Some(page.drops("file")).filter(|drops| drops.values().sum::<u64>() == 2)
    });
    let expected =
        [DropReason::EthernetMalformed, DropReason::FrameSegmented].map(|reason| (reason.label().into(), 1));
    assert_eq!(from_file, BTreeMap::from(expected));

    let cases = cases::all(a.host_mac(), &config);
    let mut before = all_drops(&gateway);
    for (reason, what, frame) in &cases {
        socket.send(frame);
        let after = gateway.wait_for(&format!("{reason} for {what}"), Duration::from_secs(5), |_| {
            Some(all_drops(&gateway)).filter(|drops| *drops != before)
        });
        let moved: Vec<_> = after
            .iter()
            .map(|(key, count)| (key.clone(), count - before.get(key).copied().unwrap_or(0)))
            .filter(|(_, by)| *by > 0)
            .collect();
        assert_eq!(moved, [(("a".to_owned(), reason.label().to_owned()), 1)], "{what}");
        before = after;
    }
    let stopped = gateway.stop();
    assert_eq!(stopped.port("a", "dropped"), cases.len() as u64);

    let mut provoked: Vec<DropReason> = cases.iter().map(|(reason, ..)| *reason).collect();
    provoked.extend([DropReason::EthernetMalformed, DropReason::FrameSegmented]);
    let unaccounted: Vec<_> = DropReason::ALL
        .iter()
        .filter(|reason| !provoked.contains(reason) && elsewhere(**reason).is_none())
        .collect();
    assert!(
        unaccounted.is_empty(),
        "no test provokes {unaccounted:?}; add a case here or a row to elsewhere()"
    );
    println!("{} frames, {} reasons, each counted once and alone", cases.len() + 2, DropReason::ALL.len());
}

/// Where a reason is provoked that is not provoked here, or why no peer can provoke it.
fn elsewhere(reason: DropReason) -> Option<&'static str> {
    Some(match reason {
        reason if reason.is_tolerable() => "gate.rs: payloads of negotiated codecs",
        DropReason::SsrcCollision => "gate.rs: what the gateway sent comes back",
        DropReason::HandoverFull => "needs a worker that stands still; unit test of the ring",
        DropReason::BeforeSource => "needs a command; unit test of the pipeline with a replaced source",
        DropReason::ReframeImpossible => {
            "reframe.rs: AAC of another object type, and a part of an access unit"
        }
        DropReason::RoomExhausted => "the largest MTU leaves room; unit test with a small buffer",
        DropReason::IndexReserved => "lifecycle.rs: packets of before a restart",
        DropReason::TxFull => "testpmd_flood.rs: a peer that stops reading",
        DropReason::PuntRateLimited => "host_on_network.rs: more ARP than the limit",
        DropReason::PuntFull => "needs a control thread that stands still; unit test of the ring",
        DropReason::HandoverMisrouted => "no peer can; unit test of the pipeline with the wrong worker",
        DropReason::StreamQuarantined => "no input may cause it; faults.rs with an injected panic",
        DropReason::WorkerPanic => "no input may cause it; faults.rs with an injected panic",
        _ => return None,
    })
}

fn config(a: &Veth, b: &Veth, small: &Veth, pcap: &Path) -> ConfigText {
    let leg = |host: &str, remote: &str, port: u16| {
        let mut leg = LegText::new(&format!("{host}:{port}"), &format!("{remote}:{}", port + 10_000));
        leg.payload_types = vec![PAYLOAD_TYPE];
        leg
    };
    let near = |port| leg(LOCAL, "10.78.1.2", port);
    let far = |port| leg("10.78.2.1", "10.78.2.2", port);
    let mut split = near(20_002);
    split.rtcp = Some("next");
    let mut learner = far(20_004);
    learner.remote = None;
    let mut file = PortText::new("file", format!("net_pcap0,rx_pcap={}", pcap.display()), &["10.78.4.1/24"]);
    file.descriptors = Some(64);
    let mut named = near(20_008);
    let keys = named.keys().clone();
    let with_mki = |key: &MasterKey, mki: &str| {
        MasterKey::from_sdes_inline(keys.suite, &format!("{}|{mki}", *key.to_sdes_inline()))
            .expect("a valid key")
    };
    // Two, so that the one refused is not just another than the stream's only one.
    let earlier_remote = vec![with_mki(&LegKeys::generate().remote, "4:4")];
    named.keys = Some(LegKeys { remote: with_mki(&keys.remote, "2:4"), earlier_remote, ..keys.clone() });
    let mut narrow = PortText::new("small", small.device("net_af_packet", 2), &["10.78.3.1/24"]);
    narrow.mtu = Some(576);
    ConfigText {
        ports: vec![
            // A packet socket would never show the fragments: its driver has the kernel put them together first.
            PortText::new("a", a.device("net_af_xdp", 0), &["10.78.1.1/24", "fd78:1::1/64"]),
            PortText::new("b", b.device("net_af_packet", 1), &["10.78.2.1/24"]),
            narrow,
            file,
        ],
        sessions: vec![
            SessionText::new("muxed", near(20_000), far(20_000)),
            SessionText::new("split", split, far(20_002)),
            SessionText::new("to-learner", near(20_004), learner),
            SessionText::new("to-small", near(20_006), leg("10.78.3.1", "10.78.3.2", 20_006)),
            SessionText::new("named", named, far(20_008)),
        ],
        ..ConfigText::default()
    }
}

fn all_drops(gateway: &Gateway) -> BTreeMap<(String, String), u64> {
    let page = gateway.scrape();
    let ports = ["a", "b", "small", "file"];
    let of = |port: &'static str| {
        page.drops(port).into_iter().map(move |(reason, n)| ((port.to_owned(), reason), n))
    };
    ports.into_iter().flat_map(of).collect()
}
