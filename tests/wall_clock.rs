//! The wall clock jumps by days, forward and back, while calls talk: no session ends by it or lives longer, nothing that is
//! relayed changes, no timer fires, and the files of a tap that runs keep their time. The machine's clock stays as it is: the
//! gateway asks one of the test's (`wall_clock/shim.c`), which also knows who asks. No worker does.

mod harness;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::call::connect;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth, require, run,
    wait_until,
};
use voxlane::srtp::{AesGcmProvider, ReplayWindowSize, RtcpInbound};

const LIMIT: Duration = Duration::from_secs(30);
const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wall_clock/shim.c");
const DAY_S: i64 = 86_400;
/// When silent sessions end.
const IDLE: Duration = Duration::from_secs(6);
/// What the timers may be late or early by: they tick 16 times a second and look at each session twice a second.
const TIMER_LATE: Duration = Duration::from_secs(3);

/// The clock that the gateway asks.
struct WallClock {
    library: PathBuf,
    path: PathBuf,
    page: File,
}

impl WallClock {
    fn build(machine: &Machine) -> Self {
        require("cc", "gcc");
        let (library, path) = (machine.path("wall-clock.so"), machine.path("wall-clock"));
        run(Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .args([SHIM, "-ldl"]));
        let page = File::options().read(true).write(true).create_new(true).open(&path).expect("writable");
        page.set_len(4_096).expect("writable");
        WallClock { library, path, page }
    }

    fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("VXT_WALL_CLOCK", &self.path)]
    }

    /// It is so many seconds ahead of the machine's from now on.
    fn set(&self, seconds: i64) {
        self.page.write_all_at(&(seconds * 1_000_000_000).to_ne_bytes(), 0).expect("the page is there");
    }

    /// Threads that have asked.
    fn asked_by(&self) -> BTreeSet<i64> {
        let mut page = [0; 4_096];
        self.page.read_exact_at(&mut page, 0).expect("the page is there");
        let words: Vec<i64> = page
            .chunks_exact(8)
            .map(|word| i64::from_ne_bytes(word.try_into().expect("eight octets")))
            .collect();
        words[2..2 + words[1] as usize].iter().copied().collect()
    }
}

/// Threads of the process with that in their names.
fn threads_of(process: u32, name: &str) -> BTreeSet<i64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the gateway runs").flatten();
    let named = tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.contains(name)));
    named.map(|task| task.file_name().to_string_lossy().parse().expect("a thread id")).collect()
}

/// Seconds since 1970, by the machine's clock.
fn machine_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

#[test]
fn a_wall_clock_that_jumps_moves_nothing() {
    let machine = Machine::take();
    let wall_clock = WallClock::build(&machine);
    let namespace = Namespace::new();
    let veths = [&["10.91.1.2/24"], &["10.91.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let leg = |side: u8, port: u16| {
        LegText::new(&format!("10.91.{side}.1:{port}"), &format!("10.91.{side}.2:{}", port + 10_000))
    };
    let directory = machine.path("tap");
    let session =
        |name: &str, port: u16| SessionText::new(name, leg(1, port), leg(2, port)).with("idle_timeout = 6");
    let mut config = ConfigText {
        state_directory: Some(machine.path("state")),
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.91.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.91.2.1/24"]),
        ],
        sessions: vec![session("talks", 20_000), session("falls-silent", 20_002)],
        tap: Some((
            format!("directory = \"{}\"\nmin_free_mib = 0\nformats = [\"pcapng\"]", directory.display()),
            vec![0],
        )),
        ..ConfigText::default()
    };
    let tap_began = machine_clock();
    let gateway = Gateway::start_with(&machine, &config, &wall_clock.environment());
    let phones = |session: &SessionText| {
        let port = u32::from(session.a.local.port());
        (Phone::new(&namespace, &session.a, port, 1), Phone::new(&namespace, &session.b, port + 1, 1))
    };
    let (mut caller, mut callee) = phones(&config.sessions[0]);
    let (mut silent, mut ear) = phones(&config.sessions[1]);
    connect(&mut caller, &mut callee, LIMIT);
    let started = |gateway: &Gateway| gateway.scrape().sum("process_start_time_seconds", &[]);
    let start_time = started(&gateway);
    let mut reports =
        RtcpInbound::<AesGcmProvider>::new(&config.sessions[0].b.keys().local, ReplayWindowSize::default());

    // The other session is talked to once more before each jump, and ends after its time alone, by no jump.
    connect(&mut silent, &mut ear, LIMIT);
    let mut last_said = Instant::now();
    let mut packets = 0;
    let (mut offset, mut days) = (0, BTreeSet::new());
    for jump in [DAY_S, -3 * DAY_S, 400 * DAY_S, -398 * DAY_S] {
        silent.talk();
        assert!(ear.receive(LIMIT).is_some(), "the session is there after a jump to {offset} s");
        last_said = Instant::now();
        offset += jump;
        wall_clock.set(offset);
        for _ in 0..100 {
            caller.talk();
            assert!(callee.receive(LIMIT).is_some(), "{offset} s: lost");
            packets += 1;
        }
        // What a report says of time is its sender's own.
        let body = [&0x1122_3344_5566_7788_u64.to_be_bytes()[..], &[7; 12]].concat();
        let sealed = caller.sealer().rtcp(200, 6, &body);
        caller.send(&sealed);
        let mut report = callee.receive_raw(LIMIT).expect("the report arrives");
        let opened = reports.open(&mut report).expect("sealed with the leg's key");
        assert_eq!(report[8..opened.len], body, "{offset} s");
        assert_eq!(gateway.scrape().sum("voxlane_sessions", &[]), 2, "{offset} s: no session ended");
        assert_eq!(started(&gateway), start_time, "the start stays where it was");
        // The clock does jump for whoever asks it, such as the log.
        let before = gateway.log().lines().count();
        gateway.reload(&machine, &config);
        let line = wait_until("the gateway to log something", LIMIT, || {
            let log = gateway.log();
            log.lines().skip(before).find(|line| line.contains("sessions read again")).map(str::to_owned)
        });
        days.insert(line.split('T').next().unwrap_or_default().to_owned());
    }
    assert!(days.len() >= 4, "{days:?}");

    // Back by years while its idle time runs: no longer than that, and no shorter.
    wall_clock.set(-700 * DAY_S);
    let ended = |gateway: &Gateway| {
        gateway.scrape().sum("voxlane_sessions_ended_total", &[("reason", "idle_timeout")])
    };
    while ended(&gateway) == 0 {
        caller.talk();
        assert!(callee.receive(LIMIT).is_some(), "lost");
        packets += 1;
        assert!(last_said.elapsed() < IDLE + TIMER_LATE, "the silent session lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let lived = last_said.elapsed();
    assert!(lived > IDLE - Duration::from_millis(700), "it ended after {lived:?}");
    assert_eq!(gateway.scrape().sum("voxlane_sessions", &[]), 1);

    // Who asked: control and the log, no worker.
    let workers = threads_of(gateway.pid(), "worker-1");
    assert_eq!(workers.len(), 1, "one worker");
    let asked = wall_clock.asked_by();
    assert!(!asked.is_empty() && asked.is_disjoint(&workers), "{asked:?} asked, {workers:?} are workers");

    // A tap that begins now has today's name by that clock; the one that ran all the time has the machine's.
    config.tap.as_mut().expect("set above").1 = vec![];
    gateway.reload(&machine, &config);
    wait_until("the tap to end", LIMIT, || gateway.log().contains("tap ends").then_some(()));
    config.tap.as_mut().expect("set above").1 = vec![0];
    gateway.reload(&machine, &config);
    let begins = || gateway.log().matches("tap begins").count() == 2;
    wait_until("another tap to begin", LIMIT, || begins().then_some(()));
    wait_until("a packet to be tapped", LIMIT, || {
        caller.talk();
        assert!(callee.receive(LIMIT).is_some(), "lost");
        (gateway.scrape().sum("voxlane_tap_files_total", &[("outcome", "begun")]) == 2).then_some(())
    });
    let tap_ended = machine_clock();
    let stopped = gateway.stop();
    let seconds = stopped.report["duration_seconds"].as_f64().expect("a number");
    assert!(seconds < 300.0, "{seconds}");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .expect("the tap made it")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("ASCII"))
        .collect();
    names.sort_by_key(|name| name.ends_with(".1.pcapng"));
    let [later, first] = &names[..] else { panic!("two captures: {names:?}") };
    let [began, went_on] = [(first, 0), (later, -700 * DAY_S)].map(|(name, offset)| {
        let times = capture_times(&directory.join(name));
        let (least, most) = (tap_began + offset as f64 - 1.0, tap_ended + offset as f64 + 1.0);
        assert!(times.iter().all(|time| (least..most).contains(time)), "{name}: {least}..{most}: {times:?}");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{name}: in order");
        times.len()
    });
    assert!(began >= packets && went_on > 0, "{began} and {went_on} of {packets}");
    println!(
        "{packets} packets over five jumps; the silent session lived {lived:?} of {IDLE:?}; asked by {} threads",
        asked.len()
    );
}

/// When the packets of a capture came, in seconds since 1970.
fn capture_times(file: &Path) -> Vec<f64> {
    require("tshark", "tshark");
    let output =
        run(Command::new("tshark").args(["-n", "-T", "fields", "-e", "frame.time_epoch", "-r"]).arg(file));
    output.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
