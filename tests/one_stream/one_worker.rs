//! One worker over one real port, without the gateway: net_pcap gives it a capture and takes what it sends.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;
use std::sync::Arc;

use voxlane::dpdk::{Attach, Eal, Mempool, Port, PortConfig};
use voxlane::fastpath::handover::mesh;
use voxlane::fastpath::{
    Pipeline, PipelinePort, Transmitter, WarmUp, Worker, WorkerPort, WorkerShared, control_link,
};
use voxlane::rate_limit::TokenBucket;
use voxlane::srtp::Provider;
use voxlane::telemetry::QueueCounters;
use voxlane::wire::MacAddress;

/// One queue pair, small rings.
pub const PORT: PortConfig = PortConfig {
    queues: 1,
    mtu: 1500,
    rx_descriptors: 64,
    tx_descriptors: 64,
    mac: None,
    promiscuous: false,
};

/// What net_pcap gives its ports, by their number: 02:70:63:61:70:00 ("pcap") and so on.
pub fn pcap_mac(number: u8) -> MacAddress {
    MacAddress([0x02, 0x70, 0x63, 0x61, 0x70, number])
}

/// A worker that does not run yet, and its port.
pub struct OneWorker<P: Provider> {
    port: Port,
    worker: Worker<P>,
    shared: Arc<WorkerShared>,
    counters: Arc<QueueCounters>,
}

impl<P: Provider> OneWorker<P> {
    /// Over port `number` of net_pcap, which reads `input` and writes `output`.
    pub fn over_capture(
        eal: &Eal,
        number: u8,
        input: &Path,
        output: &Path,
        pool: &Mempool,
        pipeline: Pipeline<P>,
    ) -> Self {
        let device = format!("net_pcap{number},rx_pcap={},tx_pcap={}", input.display(), output.display());
        let attach = Attach::new(eal, &device).expect("the pcap driver");
        let (port, mut queues) = attach.configure(&PORT, std::slice::from_ref(pool)).expect("one queue pair");
        let mac = MacAddress(port.info().mac);
        assert_eq!(mac, pcap_mac(number));
        let (rx, tx) = queues.remove(0);
        let counters = Arc::new(QueueCounters::new());
        let shared = Arc::new(WorkerShared::new());
        let worker_port = WorkerPort {
            rx,
            pipeline: PipelinePort {
                index: 0,
                mac,
                vlan: None,
                counters: Arc::clone(&counters),
                punt_limit: TokenBucket::new(1000, eal.tsc_hz()),
            },
        };
        let worker = Worker::new(
            pipeline,
            vec![worker_port],
            vec![Transmitter::new(tx)],
            Arc::clone(&shared),
            mesh(1, 16).pop().expect("one worker"),
            control_link().1,
            eal.tsc_hz(),
        );
        OneWorker { port, worker, shared, counters }
    }

    /// Has it relay frames of its own first.
    pub fn with_warm_up(self, warm_up: WarmUp<P>) -> Self {
        OneWorker { worker: self.worker.with_warm_up(warm_up), ..self }
    }

    /// What it shares with control.
    pub fn shared(&self) -> Arc<WorkerShared> {
        Arc::clone(&self.shared)
    }

    /// What its queue counts.
    pub fn counters(&self) -> Arc<QueueCounters> {
        Arc::clone(&self.counters)
    }

    /// Relays the whole capture on the first worker lcore, and closes the port.
    pub fn run_to_the_end(self, eal: &Eal) {
        let OneWorker { port, worker, shared, .. } = self;
        port.start().expect("nothing can refuse");
        // Told to drain before it starts, it ends when the file has been read for a while.
        shared.drain();
        let worker =
            eal.launch(1, move || worker.run()).expect("an idle lcore").join().expect("the worker survives");
        drop(worker);
        drop(port);
    }
}
