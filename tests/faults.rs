//! What goes wrong on purpose, over real ports: panics in every stage, ports that take nothing, pools that run dry, links
//! that go down, clocks that jump. Every frame and buffer must be accounted for afterwards, and packets must flow again.
//!
//! Needs a gateway that can go wrong: `cargo test --release --features fault-injection --test faults`.

mod harness;

use std::time::{Duration, Instant};

use harness::call::connect;
use harness::config_text::LegKeys;
use harness::voxload::Voxload;
use harness::{
    ConfigText, Gateway, LegText, Machine, MemifSite, Namespace, Phone, PortText, Scrape, SessionText, Veth,
    wait_until,
};
use voxlane::fastpath::faults::{MESSAGE, Point};
use voxlane::srtp::Suite;

const LIMIT: Duration = Duration::from_secs(30);
const SESSIONS: u16 = 100;
/// Frames that must be forwarded after a fault before the next is made.
const GOES_ON: u64 = 2_000;

/// Two memif ports, a locked worker, sessions of an AEAD and of a suite that goes through batches; and traffic.
struct Busy {
    machine: Machine,
    gateway: Gateway,
    load: Option<Voxload>,
}

impl Busy {
    fn start() -> Self {
        let machine = Machine::take();
        let site = MemifSite::new(&machine, 87);
        let gateway = Gateway::start(&machine, &memif_config(&site));
        gateway.wait_for("the worker to lock itself out", LIMIT, |page| {
            (page.sum("voxlane_worker_lockdown", &[]) == 1).then_some(())
        });
        // Until it is interrupted.
        let arguments = ["--rate", "50000", "--seconds", "600", "--drain", "500"];
        let load = Some(Voxload::start(&machine, &gateway, &site.clients(), &arguments));
        let busy = Busy { machine, gateway, load };
        busy.forwards("at first");
        busy
    }

    fn inject(&self, lines: &str) {
        self.gateway.inject(&self.machine, lines);
    }

    /// Waits until so many more frames have been forwarded; returns the page.
    fn forwards(&self, when: &str) -> Scrape {
        let tx = |page: &Scrape| page.sum("voxlane_tx_packets_total", &[]);
        let before = tx(&self.gateway.scrape());
        self.gateway.wait_for(&format!("packets to flow {when}"), LIMIT, |page| {
            (tx(page) >= before + GOES_ON).then(|| page.clone())
        })
    }

    fn stop_load(&mut self) {
        if let Some(load) = self.load.take() {
            load.interrupt(LIMIT);
            self.gateway.quiet_scrape();
        }
    }
}

#[test]
fn a_panic_in_every_stage_costs_its_burst_and_its_stream() {
    let mut busy = Busy::start();
    // One worker hands nothing over; the unit tests do.
    let points = Point::ALL.iter().filter(|&&point| point != Point::Handover);
    let mut panics = 0;
    for point in points {
        busy.inject(&format!("panic 0 {} 7 1", point.label()));
        panics += 1;
        busy.gateway.wait_for(&format!("the panic at {}", point.label()), LIMIT, |page| {
            (page.sum("voxlane_worker_panics_total", &[]) == panics).then_some(())
        });
        busy.forwards(&format!("after a panic at {}", point.label()));
    }
    busy.stop_load();
    let page = busy.gateway.scrape();
    // One each for open, inspect, reencapsulate, seal, headers and transmit; a batch of one stream names it, too.
    let quarantined = page.sum("voxlane_quarantined_streams_total", &[]);
    assert!((6..=8).contains(&quarantined), "{quarantined} streams quarantined");
    // Panics are no reason to end, but the run is not clean.
    let stopped = busy.gateway.end(true, 1);
    assert_eq!(stopped.report["worker_panics"], panics, "{:#}", stopped.report);
    let drops = [stopped.drops("a"), stopped.drops("b")];
    let dropped = |reason: &str| drops.iter().filter_map(|drops| drops.get(reason)).sum::<u64>();
    let lost = dropped("worker_panic");
    assert!((1..=64 * panics).contains(&lost), "{lost} frames lost to {panics} panics");
    assert!(dropped("stream_quarantined") > 0, "{drops:?}");
    for part in
        [MESSAGE, "packets of this leg are refused", "panic_caught", "burst_received", "session=call-"]
    {
        assert!(stopped.log.contains(part), "{part:?} is not in the log:\n{}", stopped.log);
    }
    let gap = &stopped.report["queues"][0]["poll_gap"];
    let back = microseconds_to_the_boundary(&stopped.log);
    assert!(!back.is_empty(), "no dump shows a panic behind its burst:\n{}", stopped.log);
    println!("from the RX burst to the unwind boundary, panic and unwinding included: {back:?} us");
    println!(
        "{panics} panics under lockdown: {lost} frames lost, {quarantined} streams quarantined, longest poll gap {} us in {}",
        gap["max_ns"].as_u64().unwrap_or(0) / 1_000,
        gap["max_stage"]
    );
}

#[test]
fn panics_again_and_again_end_the_process_with_a_code_of_its_own() {
    // In bursts, and outside of them without any packet.
    let mut busy = Busy::start();
    busy.inject("panic 0 inspect 0 1000000");
    drop(busy.load.take().map(|load| load.interrupt(LIMIT)));
    let in_bursts = busy.gateway.end(false, 3);
    drop(busy.machine);
    assert!(in_bursts.log.contains("workers PANICKED"), "{}", in_bursts.log);

    for point in ["housekeeping", "poll"] {
        let machine = Machine::take();
        let gateway = Gateway::start(&machine, &memif_config(&MemifSite::new(&machine, 87)));
        gateway.inject(&machine, &format!("panic 0 {point} 1000 1000000"));
        let stopped = gateway.end(false, 3);
        assert_eq!(stopped.report["worker_panics"], 16, "{point}: {:#}", stopped.report);
    }
}

#[test]
fn buffers_that_run_out_cost_packets_and_nothing_else() {
    let mut busy = Busy::start();
    busy.inject("starve 300");
    let starved = Instant::now();
    let no_buffer = busy.gateway.wait_for("receive calls without buffers, or none received", LIMIT, |page| {
        let buffers = [("pool", "buffers")];
        let out = page.sum("voxlane_pool_in_use", &buffers);
        let all = page.sum("voxlane_pool_objects", &buffers);
        (starved.elapsed() > Duration::from_millis(100)).then_some((out, all))
    });
    assert!(no_buffer.1 > 0 && no_buffer.0 * 10 >= no_buffer.1 * 9, "{no_buffer:?}: there was no famine");
    wait_until("the buffers to be given back", LIMIT, || {
        (starved.elapsed() > Duration::from_millis(500)).then_some(())
    });
    busy.forwards("after the famine");
    busy.stop_load();
    busy.gateway.end(true, 0).assert_clean();
    println!("{} of {} buffers were out; all came back", no_buffer.0, no_buffer.1);
}

#[test]
fn a_port_that_takes_nothing_costs_what_it_was_offered() {
    let mut busy = Busy::start();
    busy.inject("refuse 0 400");
    busy.gateway.wait_for("frames that the port did not take", LIMIT, |page| {
        let full = [("reason", "tx_full")];
        (page.sum("voxlane_dropped_packets_total", &full) > 0).then_some(())
    });
    busy.forwards("when the port takes again");
    busy.stop_load();
    let stopped = busy.gateway.end(true, 0);
    stopped.assert_clean();
    let dropped = ["a", "b"].map(|port| stopped.drops(port).get("tx_full").copied().unwrap_or(0));
    println!("{} frames were not taken in 400 refused calls", dropped.iter().sum::<u64>());
}

#[test]
fn clocks_that_jump_by_hours_stop_nothing() {
    let site = Site::new();
    let mut call = site.call();
    for jump in ["tsc -7200", "tsc 14400", "clock -7200", "clock 14400", "tsc -7200\nclock -7200"] {
        site.gateway.inject(&site.machine, jump);
        call.goes_on(jump);
        // Answered through the worker's limit on punts and the host's on answers.
        site.namespace.sh("ping -c 2 -i 0.2 -W 2 10.87.1.1");
    }
    let page = site.gateway.scrape();
    assert_eq!(page.sum("voxlane_worker_panics_total", &[]), 0);
    assert_eq!(page.sum("voxlane_worker_heap_allocations_total", &[]), 0);
    let stopped = site.gateway.end(true, 0);
    stopped.assert_clean();
    let seconds = stopped.report["duration_seconds"].as_f64().expect("a number");
    assert!((0.0..120.0).contains(&seconds), "the run took {seconds} s");
    assert!(!stopped.log.contains("does not answer any more"), "no next hop was given up: {}", stopped.log);
}

/// A worker cannot tell a jump from a stall, so it records one poll gap of that length; the control thread can, and says so.
/// Nothing ends by it, although the sessions' time would have been over by far.
#[test]
fn a_jump_of_the_counter_is_counted_as_one_and_ends_no_session() {
    let site = Site::new();
    let mut call = site.call();
    let jumps = |page: &Scrape| page.sum("voxlane_clock_jumps_total", &[]);
    // Beyond the last bucket, which ends at a second.
    let gaps = |page: &Scrape, port: &str| {
        let below = |le: &str| page.sum("voxlane_poll_gap_seconds_bucket", &[("port", port), ("le", le)]);
        below("+Inf") - below("1")
    };
    let page = site.gateway.scrape();
    let (before, longest) = (["a", "b"].map(|port| gaps(&page, port)), |page: &Scrape| {
        page.samples("voxlane_poll_gap_max_seconds", &[]).map(|sample| sample.value).fold(0.0, f64::max)
    });
    assert!(page.has_family("voxlane_poll_gap_seconds") && longest(&page) < 100.0);
    assert_eq!(jumps(&page), 0);
    for (number, (fault, of_counter)) in
        [("tsc 14400", 1), ("tsc -7200", 0), ("clock 7200", 0), ("clock -3600", 0)].into_iter().enumerate()
    {
        let told = number as u64 + 1;
        let earlier = ["a", "b"].map(|port| gaps(&site.gateway.scrape(), port));
        site.gateway.inject(&site.machine, fault);
        site.gateway
            .wait_for(&format!("{fault} to be counted"), LIMIT, |page| (jumps(page) == told).then_some(()));
        call.goes_on(fault);
        let page = site.gateway.scrape();
        assert_eq!(jumps(&page), told, "{fault}: once");
        let after = ["a", "b"].map(|port| gaps(&page, port));
        assert_eq!(after, earlier.map(|gaps| gaps + of_counter), "{fault}: gaps of more than a second");
        assert!((longest(&page) - 14_400.0).abs() < 10.0, "{fault}: {}", longest(&page));
    }
    let page = site.gateway.scrape();
    assert_eq!(page.sum("voxlane_sessions", &[]), 1);
    assert_eq!(page.sum("voxlane_sessions_ended_total", &[]), 0, "no session ended");
    assert_eq!(["a", "b"].map(|port| gaps(&page, port)), before.map(|gaps| gaps + 1), "one in all");
    let stopped = site.gateway.end(true, 0);
    stopped.assert_clean();
    for seconds in ["seconds=\"14400.", "seconds=\"-7200.", "seconds=\"-7200.", "seconds=\"3600."] {
        assert!(stopped.log.contains(seconds), "{seconds} is not in the log:\n{}", stopped.log);
    }
}

#[test]
fn a_link_that_goes_down_and_up_is_used_again() {
    let site = Site::new();
    let mut call = site.call();
    for round in 0..3 {
        // The driver does not report it (22.11): its calls fail, and that is all that the gateway sees.
        site.veths[1].set_link(false);
        for _ in 0..50 {
            call.caller.talk();
        }
        site.veths[1].set_link(true);
        call.goes_on(&format!("after the link came back, {round}"));
    }
    site.gateway.end(true, 0).assert_clean();
}

/// How long each panic took that a flight recorder's dump shows, from its burst on.
fn microseconds_to_the_boundary(log: &str) -> Vec<f64> {
    let at = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('#')).collect();
    let pairs = lines
        .windows(2)
        .filter(|pair| pair[0].contains("burst_received") && pair[1].contains("panic_caught"));
    pairs.filter_map(|pair| Some(((at(pair[1])? - at(pair[0])?) * 10.0).round() / 10.0)).collect()
}

/// Two veth pairs into a namespace, and a call over them.
struct Site {
    machine: Machine,
    namespace: Namespace,
    veths: [Veth; 2],
    config: ConfigText,
    gateway: Gateway,
}

struct Call {
    caller: Phone,
    callee: Phone,
}

impl Site {
    fn new() -> Self {
        let machine = Machine::take();
        let namespace = Namespace::new();
        let veths = [&["10.87.1.2/24"], &["10.87.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
        let config = ConfigText {
            state_directory: Some(machine.path("state")),
            ports: vec![
                PortText::new("a", veths[0].device("net_af_packet", 0), &["10.87.1.1/24"]),
                PortText::new("b", veths[1].device("net_af_packet", 1), &["10.87.2.1/24"]),
            ],
            sessions: vec![
                SessionText::new(
                    "call",
                    LegText::new("10.87.1.1:20000", "10.87.1.2:30000"),
                    LegText::new("10.87.2.1:20000", "10.87.2.2:30000"),
                )
                .with("idle_timeout = 120\nmax_lifetime = 600"),
            ],
            ..ConfigText::default()
        };
        let gateway = Gateway::start(&machine, &config);
        Site { machine, namespace, veths, config, gateway }
    }

    fn call(&self) -> Call {
        let session = &self.config.sessions[0];
        let mut caller = Phone::new(&self.namespace, &session.a, 1, 1);
        let mut callee = Phone::new(&self.namespace, &session.b, 2, 1);
        connect(&mut caller, &mut callee, LIMIT);
        Call { caller, callee }
    }
}

impl Call {
    /// A hundred packets arrive; the first ones may be lost.
    fn goes_on(&mut self, when: &str) {
        wait_until(&format!("the call to go on: {when}"), LIMIT, || {
            self.caller.talk();
            self.callee.receive(Duration::from_millis(100))
        });
        while self.callee.receive(Duration::from_millis(50)).is_some() {}
        for number in 0..100 {
            self.caller.talk();
            assert!(self.callee.receive(LIMIT).is_some(), "{when}: packet {number} was lost");
        }
    }
}

/// Every other session has a suite that goes through batches.
fn memif_config(site: &MemifSite) -> ConfigText {
    let session = |number: u16| {
        let mut session = site.session(number);
        if number % 2 == 1 {
            for leg in [&mut session.a, &mut session.b] {
                leg.keys = Some(LegKeys::generate_for(Suite::AesCm128HmacSha1_80));
            }
        }
        session
    };
    ConfigText {
        lockdown: true,
        ports: site.ports(),
        sessions: (0..SESSIONS).map(session).collect(),
        ..ConfigText::default()
    }
}
