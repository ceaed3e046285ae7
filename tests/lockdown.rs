//! Workers without a kernel: what the gateway relays while one system call on its worker would kill it, that the
//! filter does kill, that a panic is survived inside it, and what system calls a worker makes where a port needs them.

mod harness;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::{catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::call::connect;
use harness::testpmd::Testpmd;
use harness::voxload::Voxload;
use harness::{
    ConfigText, Gateway, Machine, MemifSite, Namespace, Phone, PortText, Process, Veth, process, require,
    wait_until,
};
use nix::sys::signal::Signal;
use voxlane::dpdk::{CountingAllocator, HeapCounts, HeapWatch, lockdown};
use voxlane::fastpath::{PanicNote, install_panic_hook};

/// As in the `voxlane` binary.
#[global_allocator]
static HEAP: CountingAllocator = CountingAllocator;

const LIMIT: Duration = Duration::from_secs(30);
const SESSIONS: u16 = 100;
/// In all, over both directions of all sessions.
const PACKETS: u64 = 2_000_000;
/// Names the part that a copy of this test binary is to play.
const PART: &str = "VOXLANE_LOCKDOWN_PART";

#[test]
fn two_million_packets_are_relayed_without_a_system_call_or_an_allocation() {
    let machine = Machine::take();
    let site = MemifSite::new(&machine, 86);
    let gateway = Gateway::start(&machine, &config(&site));
    gateway.wait_for("the worker to lock itself out", LIMIT, |page| {
        (page.sum("voxlane_worker_lockdown", &[("worker", "0")]) == 1).then_some(())
    });
    let packets = (PACKETS / (2 * u64::from(SESSIONS))).to_string();
    let arguments = ["--flood", "--packets", &packets, "--drain", "3000"];
    let verdict =
        Voxload::start(&machine, &gateway, &site.clients(), &arguments).finish(Duration::from_secs(180));
    verdict.assert_pass();
    gateway.quiet_scrape();
    let stopped = gateway.stop();
    verdict.assert_accounted(&stopped, &["a", "b"]);
    assert!(stopped.total("tx") >= PACKETS, "{:#}", stopped.report);
    let workers = stopped.report["workers"].as_array().expect("the report lists workers");
    assert_eq!(workers.len(), 1);
    for key in ["heap_allocations", "heap_frees"] {
        assert_eq!(workers[0][key], 0, "{key}: {:#}", stopped.report);
    }
    assert_eq!(workers[0]["lockdown"], true);
    let gap = &stopped.report["queues"][0]["poll_gap"];
    println!(
        "{} packets, no system call, no allocation; longest poll gap {} ns in {}",
        stopped.total("tx"),
        gap["max_ns"],
        gap["max_stage"]
    );
}

/// A peer that goes without a word, and one that comes after it, are the interrupt thread's business.
#[test]
fn peers_come_and_are_killed_under_lockdown() {
    let machine = Machine::take();
    let site = MemifSite::new(&machine, 86);
    let gateway = Gateway::start(&machine, &config(&site));
    for round in 0..3 {
        let before = gateway.scrape().port("voxlane_rx_packets_total", "a");
        let mut testpmd = Testpmd::start(&site.sockets[0], &[]);
        testpmd.flood("txonly");
        gateway.wait_for("the flood", LIMIT, |page| {
            (page.port("voxlane_rx_packets_total", "a") > before + 10_000).then_some(())
        });
        testpmd.kill();
        gateway.wait_for(&format!("the link to be down after kill {round}"), LIMIT, |page| {
            (page.sum("voxlane_link_up", &[("port", "a")]) == 0).then_some(())
        });
    }
    let page = gateway.scrape();
    assert_eq!(page.sum("voxlane_worker_lockdown", &[]), 1);
    assert_eq!(page.sum("voxlane_worker_heap_allocations_total", &[]), 0);
    gateway.stop();
}

#[test]
fn a_port_that_needs_the_kernel_is_refused_with_lockdown() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veth = Veth::new(&namespace, &["10.86.1.2/24"]);
    let mut config = config(&MemifSite::new(&machine, 86));
    config.ports[0].device = veth.device("net_af_packet", 0);
    let refusal = Gateway::refused(&machine, &config);
    assert_eq!(refusal.code, Some(2), "{}", refusal.text);
    for part in ["lockdown = true", "\"net_af_packet0\"", "port \"a\"", "or set lockdown = false"] {
        assert!(refusal.text.contains(part), "{part}: {}", refusal.text);
    }
}

/// AF_PACKET sends through the kernel and receives through memory that it shares with it.
#[test]
fn where_a_port_needs_the_kernel_its_driver_alone_enters_it() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.86.1.2/24"], &["10.86.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let config = ConfigText {
        lockdown: false,
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.86.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.86.2.1/24"]),
        ],
        ..config(&MemifSite::new(&machine, 86))
    };
    let gateway = Gateway::start(&machine, &config);
    let session = &config.sessions[0];
    let (mut caller, mut callee) =
        (Phone::new(&namespace, &session.a, 1, 1), Phone::new(&namespace, &session.b, 2, 1));
    connect(&mut caller, &mut callee, LIMIT);
    connect(&mut callee, &mut caller, LIMIT);
    let strace = Strace::attach(&machine, worker_thread(gateway.pid()));
    for _ in 0..200 {
        caller.talk();
        assert!(callee.receive(LIMIT).is_some(), "lost");
        callee.talk();
        assert!(caller.receive(LIMIT).is_some(), "lost");
    }
    let calls = strace.detach();
    let names: BTreeSet<&str> = calls.iter().map(String::as_str).collect();
    assert!(names.is_subset(&BTreeSet::from(["poll", "sendto"])), "{names:?}");
    let sent = calls.iter().filter(|name| *name == "sendto").count();
    assert!(sent >= 400, "strace saw {sent} of 400 packets leave");
    let page = gateway.scrape();
    assert_eq!(page.sum("voxlane_worker_lockdown", &[]), 0);
    assert_eq!(page.sum("voxlane_worker_heap_allocations_total", &[]), 0);
    gateway.stop();
    println!("{} system calls for 400 packets, all of them {names:?}", calls.len());
}

#[test]
fn one_system_call_of_a_locked_thread_kills_the_process() {
    let status = play("one_getpid");
    assert_eq!(status.signal(), Some(Signal::SIGSYS as i32), "{status}");
}

#[test]
fn a_locked_thread_publishes_its_end_and_the_process_exits() {
    let status = play("park");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_panic_of_a_locked_thread_is_caught_and_told() {
    let status = play("panic");
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Not a test of its own: what the copies of this binary do.
#[test]
#[ignore = "run by the tests above in processes of their own"]
fn part() {
    match std::env::var(PART).as_deref() {
        Ok("one_getpid") => on_locked_thread(|_, _| {
            let _ = std::process::id();
        }),
        Ok("park") => on_locked_thread(|_, _| {}),
        Ok("panic") => on_locked_thread(panics),
        other => panic!("no part: {other:?}"),
    }
}

/// Panics under lockdown, of any size, are survived; the heap is not asked, and the first message gets out.
fn panics(note: &PanicNote, heap: &HeapCounts) {
    assert_eq!((heap.allocations(), heap.frees()), (0, 0));
    for number in 0..1_000 {
        let caught = catch_unwind(|| panic!("burst {number} {}", "x".repeat(20_000)));
        assert!(caught.is_err());
        drop(caught);
        assert!(catch_unwind(|| panic!("no arguments")).is_err());
    }
    assert!(heap.allocations() >= 2_000, "panics are boxed");
    assert!(heap.frees() >= 2_000);
    let _ = note;
}

/// Runs `work` on a thread that is locked as a worker is, waits for its end and checks what it left.
fn on_locked_thread(work: fn(&PanicNote, &HeapCounts)) {
    let (note, counts, over) =
        (Arc::new(PanicNote::new()), Arc::new(HeapCounts::default()), Arc::new(AtomicU64::new(0)));
    let (its_note, its_counts, its_over) = (Arc::clone(&note), Arc::clone(&counts), Arc::clone(&over));
    std::thread::spawn(move || {
        its_note.adopt();
        install_panic_hook();
        let _ = catch_unwind(|| resume_unwind(Box::new(())));
        lockdown::enter().expect("seccomp is available");
        let watch = HeapWatch::start(Arc::clone(&its_counts));
        work(&its_note, &its_counts);
        drop(watch);
        its_over.store(1, Ordering::Release);
        lockdown::park();
    });
    wait_until("the locked thread to be done", LIMIT, || (over.load(Ordering::Acquire) == 1).then_some(()));
    if counts.allocations() > 0 {
        let text = note.take().expect("a panic leaves a note");
        assert!(text.contains("lockdown.rs:") && text.contains("burst 0 xxx"), "{text}");
    }
}

/// A copy of this test binary that plays `part`.
fn play(part: &str) -> std::process::ExitStatus {
    let binary = std::env::current_exe().expect("this test runs");
    let mut child = Command::new(binary)
        .args(["--exact", "part", "--ignored", "--nocapture"])
        .env(PART, part)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a copy of this test starts");
    wait_until("the copy to end", LIMIT, || child.try_wait().expect("it is our child"))
}

/// A strace of one thread.
struct Strace {
    process: Process,
    log: std::path::PathBuf,
}

impl Strace {
    fn attach(machine: &Machine, thread: u32) -> Self {
        require("strace", "strace");
        let log = machine.path("strace.txt");
        let mut command = process::command("strace");
        command.args(["-p", &thread.to_string(), "-o"]).arg(&log);
        let mut process = Process::spawn("strace", command);
        process.line("to be attached", LIMIT, |line| line.contains("attached").then_some(()));
        Strace { process, log }
    }

    /// Lets the thread go and returns the names of its system calls, in order.
    fn detach(mut self) -> Vec<String> {
        self.process.signal(Signal::SIGINT);
        self.process.wait(LIMIT);
        let text = std::fs::read_to_string(&self.log).expect("strace leaves a log");
        text.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
    }
}

/// The thread of the gateway's first worker, by the name that DPDK gives it.
fn worker_thread(process: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the gateway runs");
    let mut workers = tasks.flatten().filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.contains("worker-1")
    });
    let task = workers.next().expect("DPDK names its threads");
    task.file_name().to_string_lossy().parse().expect("a thread id")
}

/// Two memif ports and sessions over them, workers locked out.
fn config(site: &MemifSite) -> ConfigText {
    ConfigText {
        lockdown: true,
        ports: site.ports(),
        sessions: (0..SESSIONS).map(|number| site.session(number)).collect(),
        ..ConfigText::default()
    }
}
