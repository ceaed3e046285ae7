//! A worker whose cryptography panics, over a port of net_pcap: what is lost, what is counted, what goes on.

use voxlane::dpdk::Eal;
use voxlane::fastpath::{DropReason, WarmUp};
use voxlane::srtp::{AesGcmProvider, AuthFailed, Batch, CounterHmac, Provider, SessionKeys, Suite, TAG_LEN};
use voxlane::telemetry::{Balance, EventKind};

use crate::one_stream::{pipeline, sealed_frame};
use crate::one_worker::{OneWorker, pcap_mac};
use crate::{capture, in_use, pool};

/// RustCrypto's provider, but a payload that starts with [`POISON`] panics after it was opened.
struct Explosive;
struct ExplosiveBatch(<AesGcmProvider as Provider>::Batch);
const POISON: u8 = 0x66;

impl Provider for Explosive {
    type Key = <AesGcmProvider as Provider>::Key;
    type Batch = ExplosiveBatch;
    const NAME: &'static str = "explosive";

    fn key(keys: &SessionKeys) -> Self::Key {
        AesGcmProvider::key(keys)
    }

    fn lines(_: *const Self::Key, _: Suite, _: usize, _: impl Fn(*const u8)) {}

    fn aead_open(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        AesGcmProvider::aead_open(key, suite, nonce, aad, in_out, tag)?;
        assert_ne!(in_out.first(), Some(&POISON), "poison");
        Ok(())
    }

    fn aead_seal(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        AesGcmProvider::aead_seal(key, suite, nonce, aad, in_out)
    }
}

impl Batch<Explosive> for ExplosiveBatch {
    fn new() -> Self {
        ExplosiveBatch(Batch::new())
    }

    fn open(&mut self, packets: &mut [CounterHmac<'_, <Explosive as Provider>::Key>]) {
        self.0.open(packets);
    }

    fn seal(&mut self, packets: &mut [CounterHmac<'_, <Explosive as Provider>::Key>]) {
        self.0.seal(packets);
    }
}

pub fn a_panic_costs_the_burst_and_nothing_more(eal: &Eal) {
    const PACKETS: u16 = 640;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let poisoned = [100, 300, 301];
    let frames = (0..PACKETS).map(|seq| {
        let fill = if poisoned.contains(&seq) { POISON } else { 0x42 };
        sealed_frame(seq, fill, pcap_mac(0))
    });
    capture::write(&input, frames);

    let pool = pool(eal, "panic", 1023);
    let suites = [
        (Some(Suite::AeadAes128Gcm), Some(Suite::AesCm128HmacSha1_80)),
        (Some(Suite::AesCm128HmacSha1_32), Some(Suite::AeadAes256Gcm)),
        (None, Some(Suite::AeadAes128Gcm)),
    ];
    let warm_up = WarmUp::new(&suites, pool.clone()).expect("a few lines");
    let pipeline = pipeline::<Explosive>(pcap_mac(0));
    let worker = OneWorker::over_capture(eal, 0, &input, &output, &pool, pipeline).with_warm_up(warm_up);
    let (shared, counters) = (worker.shared(), worker.counters());
    assert!(!shared.is_warm());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    worker.run_to_the_end(eal);
    std::panic::set_hook(hook);

    // Everything that the worker relayed to itself came out, and none of it is counted or left the pool.
    let warmed = shared.counters.warm_up_frames.value();
    assert!(shared.is_warm() && warmed > 3_000, "{warmed}");
    assert_eq!(shared.counters.warm_up_forwarded.value(), warmed);
    let balance = Balance::of(&counters);
    let lost = counters.dropped_for(DropReason::WorkerPanic);
    assert_eq!(balance.rx, u64::from(PACKETS));
    assert!(balance.is_exact(), "{balance:?}");
    assert_eq!(shared.counters.panics.value(), 1, "the second poison finds its stream out of service");
    assert_eq!(shared.counters.quarantined_streams.value(), 1);
    assert!((1..=64).contains(&lost), "the burst with the poison, and no other: {lost}");
    let refused = counters.dropped_for(DropReason::StreamQuarantined);
    assert!(refused > 0, "the stream is out of service");
    assert_eq!(balance.tx + lost + refused, balance.rx);
    let events: Vec<EventKind> = shared.flight.events().map(|event| event.kind).collect();
    assert!(events.contains(&EventKind::PanicCaught) && events.contains(&EventKind::StreamQuarantined));
    assert_eq!(events.last(), Some(&EventKind::WorkerStopped));
    assert_eq!(in_use(&pool), 0, "the unwinding gave every buffer back");
}
