//! One stream of one session, and packets for it: for tests that drive the packet path without the gateway.

#![allow(dead_code, reason = "each test uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;

use voxlane::dpdk::Memory;
use voxlane::fastpath::Pipeline;
use voxlane::session::{
    Egress, EgressPort, Endpoint, Learn, LookupBuilder, Media, NextHop, NextHops, PayloadRules, StreamId,
    StreamKeys, StreamSetup, Streams, Target,
};
use voxlane::srtp::{AesGcmProvider, MasterKey, PacketIndex, Provider, ReplayWindowSize, RtpOutbound, Suite};
use voxlane::wire::MacAddress;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

/// The keys of the tests; the stream is opened with key 1 and sealed with key 2.
pub fn key(fill: u8) -> MasterKey {
    MasterKey::from_parts(Suite::AeadAes128Gcm, &[fill; 16], &[fill; 12]).expect("right lengths")
}

fn egress_port(mac: MacAddress) -> EgressPort {
    EgressPort {
        index: 0,
        mac,
        vlan: None,
        mtu: 1500,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    }
}

/// The packet path of a gateway at 10.1.0.1 whose port has the address `mac`.
pub fn pipeline<P: Provider>(mac: MacAddress) -> Pipeline<P> {
    let mut builder = LookupBuilder::default();
    builder.address(address("10.1.0.1:0").ip(), 0);
    let target = Target { worker: 0, stream: StreamId(0), media: Media::Muxed };
    builder.bind(Endpoint::from(address("10.1.0.1:20000")), target);
    let (open, seal) = (key(1), key(2));
    let keys =
        StreamKeys { open: Some(&open), seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut stream = StreamSetup::new(keys, rules, Learn::Never);
    stream.source = Some(Endpoint::from(address("10.1.0.2:30000")));
    let (local, remote) = (address("10.1.0.1:20002"), address("10.1.0.3:30000"));
    stream.rtp_egress = Some(Egress::new(egress_port(mac), local, remote, NextHop(0)));
    let mut streams = Streams::with_capacity(Memory::Heap, 1).expect("a few lines");
    streams.push(stream).expect("room for one");
    let next_hops = NextHops::new(1);
    next_hops.resolve(NextHop(0), [2, 0, 0, 0, 0, 3]);
    Pipeline {
        worker: 0,
        lookup: Arc::new(builder.build().expect("no duplicate")),
        streams,
        next_hops: vec![Arc::new(next_hops)],
    }
}

/// A sealed RTP packet with 160 bytes of `fill`, in a frame for the gateway's `mac`.
pub fn sealed_frame(seq: u16, fill: u8, mac: MacAddress) -> Vec<u8> {
    sealed_frame_under(&key(1), seq, fill, mac)
}

/// A sealed RTP packet with that payload, in a frame for the gateway's `mac`.
pub fn sealed_frame_with(seq: u16, payload: &[u8], mac: MacAddress) -> Vec<u8> {
    framed(&key(1), seq, payload, mac)
}

/// The same under another key.
pub fn sealed_frame_under(key: &MasterKey, seq: u16, fill: u8, mac: MacAddress) -> Vec<u8> {
    framed(key, seq, &[fill; 160], mac)
}

fn framed(key: &MasterKey, seq: u16, payload: &[u8], mac: MacAddress) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 0, 1, 2, 3, 4]);
    packet.extend(payload);
    packet.extend([0; 16]);
    let mut sender = RtpOutbound::<AesGcmProvider>::new(key);
    sender.seal(&mut packet, 12, 0x0102_0304, PacketIndex::new(0, seq)).expect("a fresh index");
    let port = egress_port(MacAddress([2, 0, 0, 0, 0, 2]));
    let (local, remote) = (address("10.1.0.2:30000"), address("10.1.0.1:20000"));
    let egress = Egress::new(port, local, remote, NextHop(0));
    let mut frame = vec![0; egress.headers_len()];
    frame.extend(packet);
    egress.write_headers(&mut frame, mac.0);
    frame
}
