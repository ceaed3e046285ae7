//! The real packet path behind the reference's words: the one file here that knows the product's types.

use std::net::SocketAddr;
use std::sync::Arc;

use voxlane::dpdk::{Checksum, Memory};
use voxlane::fastpath::frame::Authenticated;
use voxlane::fastpath::{
    Buffer, DropReason, Frame, HeapBuffer, Matched, Pipeline, PipelinePort, Sealed, Sink,
};
use voxlane::rate_limit::TokenBucket;
use voxlane::session::{
    Egress, EgressPort, Endpoint, KeySet, Learn, LookupBuilder, Media, NextHop, NextHops, PayloadRules,
    StreamId, StreamKeys, StreamSetup, Streams, Target,
};
use voxlane::srtp::{MasterKey, Mki, Provider, ReplayWindowSize, Suite};
use voxlane::telemetry::QueueCounters;
use voxlane::wire::MacAddress;

use crate::reference::{self, Leg, World};

/// SDES names of the suites that the product has.
pub fn suites() -> Vec<&'static str> {
    Suite::ALL.iter().map(|suite| suite.name()).collect()
}

/// How many keys with MKIs the product's streams take for one remote: 0 if packets cannot name keys.
pub const MKI_KEYS: u8 = 3;

/// The largest replay window for SRTCP.
pub const RTCP_WINDOW_MAX: u32 = 128;

/// Drop reasons that no frame of this test can have, and why.
pub const UNREACHABLE: [(DropReason, &str); 13] = [
    (DropReason::FrameSegmented, "heap buffers have one segment"),
    (DropReason::HandoverFull, "one worker owns every stream"),
    (DropReason::HandoverMisrouted, "nothing is handed over"),
    (DropReason::RemoteUnknown, "every leg has its remote"),
    (DropReason::BeforeSource, "no source is replaced"),
    (DropReason::ReframeImpossible, "both legs have the same form"),
    (DropReason::RoomExhausted, "no frame fills its buffer"),
    (DropReason::IndexReserved, "there was no earlier run"),
    (DropReason::TxFull, "the sink takes everything"),
    (DropReason::PuntRateLimited, "the limit is out of reach"),
    (DropReason::PuntFull, "the sink takes everything"),
    (DropReason::StreamQuarantined, "nothing panics"),
    (DropReason::WorkerPanic, "there is no worker"),
];

/// What became of a frame. Drop reasons are counters, so the burst has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Sent(usize, Vec<u8>),
    Punted(Vec<u8>),
    Dropped,
}

/// What became of a burst.
pub struct Fates {
    /// In the order of the frames.
    pub frames: Vec<Fate>,
    /// Labels of the reasons counted, in the order of the enum.
    pub dropped: Vec<&'static str>,
    /// Numbers of the frames in the order in which they were sent.
    pub sent: Vec<usize>,
}

/// The packet path of a gateway in a world.
pub struct Product<P: Provider> {
    pipeline: Pipeline<P>,
    ports: Vec<PipelinePort>,
    /// Advances with every burst, so that the punt limit never bites.
    now: u64,
}

impl<P: Provider> Product<P> {
    pub fn new(world: &World) -> Self {
        let mut builder = LookupBuilder::default();
        for (index, port) in world.ports.iter().enumerate() {
            port.addresses.iter().for_each(|&address| builder.address(address, index as u8));
        }
        // One next hop for each leg, on the table of its port.
        let hops = 2 * world.sessions.len();
        let next_hops: Vec<_> = world.ports.iter().map(|_| Arc::new(NextHops::new(hops))).collect();
        let mut streams =
            Streams::with_capacity(Memory::Heap, 2 * world.sessions.len()).expect("a few streams");
        for session in &world.sessions {
            for (sender, receiver) in [(0, 1), (1, 0)] {
                let id = StreamId(streams.len() as u32);
                let (from, to) = (&session.legs[sender], &session.legs[receiver]);
                bind(&mut builder, from, id);
                let hop = NextHop(id.0);
                if let Some(mac) = to.next_hop {
                    next_hops[to.port].resolve(hop, mac);
                }
                push(&mut streams, world, [from, to], hop);
            }
        }
        let lookup = Arc::new(builder.build().expect("every leg has ports of its own"));
        let ports = world.ports.iter().enumerate().map(|(index, port)| PipelinePort {
            index: index as u8,
            mac: MacAddress(port.mac),
            vlan: port.vlan,
            counters: Arc::new(QueueCounters::new()),
            punt_limit: TokenBucket::new(1_000_000, 1_000_000),
        });
        let ports = ports.collect();
        Product { pipeline: Pipeline { worker: 0, lookup, streams, next_hops }, ports, now: 0 }
    }

    /// Takes a burst of at most 64 frames that arrived on `port`.
    pub fn burst(&mut self, port: usize, frames: &[Vec<u8>]) -> Fates {
        self.now += 1_000_000;
        let port = &mut self.ports[port];
        let counted = |port: &PipelinePort| -> Vec<u64> {
            DropReason::ALL.iter().map(|&reason| port.counters.dropped_for(reason)).collect()
        };
        let before = counted(port);
        let mut sink =
            Fates { frames: vec![Fate::Dropped; frames.len()], dropped: Vec::new(), sent: Vec::new() };
        let buffers = frames.iter().enumerate().map(|(number, frame)| Numbered {
            number,
            // What an earlier packet left in the buffer.
            buffer: HeapBuffer::new(frame, 0xa5 ^ number as u8),
        });
        self.pipeline.process(port, &mut buffers.collect(), self.now, &mut sink);
        for (reason, (before, after)) in DropReason::ALL.iter().zip(before.iter().zip(counted(port))) {
            (*before..after).for_each(|_| sink.dropped.push(reason.label()));
        }
        sink
    }
}

fn bind(builder: &mut LookupBuilder, leg: &Leg, stream: StreamId) {
    let mut bind = |local: SocketAddr, media| {
        builder.bind(Endpoint::from(local), Target { worker: 0, stream, media });
    };
    match leg.rtcp {
        None => bind(leg.local, Media::Muxed),
        Some([rtcp, _]) => {
            bind(leg.local, Media::Rtp);
            bind(rtcp, Media::Rtcp);
        }
    }
}

fn push<P: Provider>(streams: &mut Streams<P>, world: &World, [from, to]: [&Leg; 2], hop: NextHop) {
    let open = from.keys.as_ref().map(|keys| master_key(&keys.remote[0]));
    let seal = to.keys.as_ref().map(|keys| master_key(&keys.local));
    let replay_window = ReplayWindowSize::new(world.window).expect("a multiple of 64");
    let keys = StreamKeys { open: open.as_ref(), seal: seal.as_ref(), replay_window };
    let rules = PayloadRules { payload_types: from.payload_types, reduced_size_rtcp: from.reduced_size_rtcp };
    let mut stream = StreamSetup::new(keys, rules, Learn::Never);
    let remote: Vec<MasterKey> =
        from.keys.iter().flat_map(|keys| keys.remote.iter().map(master_key)).collect();
    if remote.len() > 1 {
        stream.key_set = Some(Box::new(KeySet::new(&remote)));
    }
    stream.source = Some(Endpoint::from(from.remote));
    stream.rtcp_source = Some(Endpoint::from(from.rtcp.map_or(from.remote, |[_, remote]| remote)));
    let port = &world.ports[to.port];
    let egress = EgressPort {
        index: to.port as u8,
        mac: MacAddress(port.mac),
        vlan: port.vlan,
        mtu: port.mtu as u16,
        udp_checksum: port.udp_checksum,
        offload_ip: false,
        offload_udp: false,
    };
    let [rtcp_local, rtcp_remote] = to.rtcp.unwrap_or([to.local, to.remote]);
    stream.rtp_egress = Some(Egress::new(egress, to.local, to.remote, hop));
    stream.rtcp_egress = Some(Egress::new(egress, rtcp_local, rtcp_remote, hop));
    streams.push(stream).expect("capacity for all");
}

fn master_key(key: &reference::srtp::MasterKey) -> MasterKey {
    let suite = key.suite.name.parse().expect("the world has the product's suites");
    let mki = (!key.mki.is_empty()).then(|| Mki::from_octets(&key.mki).expect("a short one"));
    MasterKey::from_parts(suite, &key.key, &key.salt).expect("right lengths").with_mki(mki)
}

impl Sink<Numbered> for Fates {
    fn punt(&mut self, _port: u8, buffer: Numbered) -> bool {
        self.frames[buffer.number] = Fate::Punted(buffer.data().to_vec());
        true
    }

    fn hand_over(&mut self, _worker: u16, _port: u8, _frame: Frame<Numbered, Matched>) -> bool {
        panic!("one worker owns every stream");
    }

    fn transmit(&mut self, frame: Frame<Numbered, Sealed>) {
        let port = frame.port().into();
        let (buffer, _) = frame.into_wire();
        self.sent.push(buffer.number);
        self.frames[buffer.number] = Fate::Sent(port, buffer.data().to_vec());
    }

    fn learned(&mut self, _sender: &Authenticated, _generation: u32) {
        panic!("no leg learns its remote");
    }
}

/// A buffer that knows which frame of the burst it is.
struct Numbered {
    number: usize,
    buffer: HeapBuffer,
}

impl Buffer for Numbered {
    fn data(&self) -> &[u8] {
        self.buffer.data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.buffer.data_mut()
    }

    fn move_start(&mut self, bytes: isize) -> bool {
        self.buffer.move_start(bytes)
    }

    fn resize(&mut self, len: usize) -> bool {
        self.buffer.resize(len)
    }

    fn is_contiguous(&self) -> bool {
        self.buffer.is_contiguous()
    }

    fn rx_ip_checksum(&self) -> Checksum {
        self.buffer.rx_ip_checksum()
    }

    fn rx_udp_checksum(&self) -> Checksum {
        self.buffer.rx_udp_checksum()
    }

    fn set_tx_checksums(&mut self, ipv6: bool, ip: bool, udp: bool, l2_len: u8, l3_len: u16) {
        self.buffer.set_tx_checksums(ipv6, ip, udp, l2_len, l3_len);
    }

    fn prefetch_data(&self) {
        self.buffer.prefetch_data();
    }
}
