//! The media tap over real ports: what it writes is what was said, read by ffprobe, FFmpeg and tshark; and neither a full
//! disk nor a recorder that stands still costs a voice packet, an allocation or a system call of the worker.

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::call::connect;
use harness::gstreamer::{Listener, Talker};
use harness::voxload::Voxload;
use harness::{
    ConfigText, Gateway, LegText, Machine, MemifSite, Namespace, Phone, PortText, Scrape, SessionText, Veth,
    audio, require, run, sh, wait_until,
};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(30);
const OPUS: &str = "96 opus/48000/2";
const PCMU: &str = "0 PCMU/8000";
const SPEECH: [&str; 2] = [
    "Good morning. This call is recorded, and every word of it is written down as it was said.",
    "I know, and I hope that the file sounds exactly as I do. Shall we compare the bits?",
];
/// Octets of PCMU in a packet of 20 ms.
const PCMU_FRAME: usize = 160;
const SSRC: [u32; 2] = [0x1111, 0x2222];

#[test]
fn what_is_recorded_is_what_was_said() {
    let machine = Machine::take();
    let (side_a, side_b) = (Namespace::new(), Namespace::new());
    let veth_a = Veth::new(&side_a, &["10.78.1.2/24", "fd78:1::2/64"]);
    let veth_b = Veth::new(&side_b, &["10.78.2.2/24", "fd78:2::2/64"]);
    let directory = machine.path("tap");
    let with = |mut session: SessionText, format| {
        session.a.formats = vec![format];
        session.b.formats = vec![format];
        session
    };
    let session = |id: &str, a: [&str; 2], b: [&str; 2]| {
        SessionText::new(id, LegText::new(a[0], a[1]), LegText::new(b[0], b[1]))
    };
    let opus =
        session("opus/1", ["10.78.1.1:20000", "10.78.1.2:30000"], ["10.78.2.1:20000", "10.78.2.2:30000"]);
    let pcmu =
        session("pcmu 2", ["10.78.1.1:20002", "10.78.1.2:30002"], ["[fd78:2::1]:20002", "[fd78:2::2]:30002"]);
    let quiet =
        session("untapped", ["10.78.1.1:20004", "10.78.1.2:30004"], ["10.78.2.1:20004", "10.78.2.2:30004"]);
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veth_a.device("net_af_packet", 0), &["10.78.1.1/24", "fd78:1::1/64"]),
            PortText::new("b", veth_b.device("net_af_packet", 1), &["10.78.2.1/24", "fd78:2::1/64"]),
        ],
        sessions: vec![with(opus, OPUS), with(pcmu, PCMU), quiet],
        tap: Some((tap_section(&directory, ""), vec![0, 1])),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    assert!(gateway.log().contains("opened media of this session is written to disk"), "{}", gateway.log());

    // Opus, both ways at the pace of speech.
    let session = &config.sessions[0];
    let ways = [(&session.a, &session.b, &side_a, &side_b), (&session.b, &session.a, &side_b, &side_a)];
    let mut calls = Vec::new();
    for (number, (talk, hear, from, to)) in ways.into_iter().enumerate() {
        let (wav, heard) =
            (machine.path(&format!("said{number}.wav")), machine.path(&format!("heard{number}")));
        audio::speak(SPEECH[number], &wav);
        let ear = hear.remote.expect("configured");
        let listener = Listener::start(to, &heard, ear, &hear.keys().local, SSRC[number]);
        let path = (talk.remote.expect("configured"), talk.local);
        calls.push((listener, wav, from, path, &talk.keys().remote));
    }
    let mut talkers: Vec<_> = calls
        .iter()
        .zip(SSRC)
        .map(|((_, wav, from, path, key), ssrc)| Talker::start(from, wav, *path, key, ssrc))
        .collect();

    // PCMU meanwhile, from a to b and one report.
    let sent = machine.path("said.ul");
    require("sox", "sox");
    let spoken = machine.path("said-pcmu.wav");
    audio::speak(SPEECH[0], &spoken);
    run(Command::new("sox").arg(&spoken).args(["-r", "8000", "-c", "1", "-t", "ul"]).arg(&sent));
    let sent = fs::read(&sent).expect("sox wrote it");
    let session = &config.sessions[1];
    let mut caller = Phone::new(&side_a, &session.a, 7, 1);
    let callee = side_b.udp(session.b.remote.expect("configured"));
    callee.set_read_timeout(Some(LIMIT)).expect("not zero");
    let frames: Vec<&[u8]> = sent.chunks_exact(PCMU_FRAME).collect();
    assert!(frames.len() > 200, "{}", frames.len());
    // The first packet finds the way, and is the start of the recording.
    let start = caller.sealer().rtp_at(0, 0, frames[0]);
    let mut buffer = [0; 2048];
    caller.send(&start);
    gateway.wait_for("the tap's first packet", LIMIT, |page| {
        (page.sum("voxlane_tap_written_bytes_total", &[]) > 0).then_some(())
    });
    for (number, frame) in frames.iter().enumerate().skip(1) {
        let packet = caller.sealer().rtp_at(0, (number * PCMU_FRAME) as u32, frame);
        caller.send(&packet);
        if number > 2 {
            callee.recv(&mut buffer).expect("the packet arrives");
        }
    }
    let report = caller.sealer().rtcp(201, 1, &[]);
    caller.send(&report);

    for (talker, (listener, ..)) in talkers.iter_mut().zip(&mut calls) {
        talker.finish(Duration::from_secs(60));
        let sent = fs::metadata(&talker.opus).expect("the talker wrote it").len();
        wait_until("all of the Opus to be heard", LIMIT, || (listener.heard_bytes() >= sent).then_some(()));
        listener.stop();
    }
    let page = gateway.quiet_scrape();
    assert_eq!(lost(&page), BTreeMap::new());
    assert!(page.sum("voxlane_tap_records_total", &[]) > 500);
    let partial = names(&directory);
    assert!(partial.iter().all(|name| name.ends_with(".partial")), "{partial:?}");
    gateway.stop();

    let files = names(&directory);
    let of = |start: &str, end: &str| {
        let mut matching = files.iter().filter(|name| name.starts_with(start) && name.ends_with(end));
        let file = matching.next().unwrap_or_else(|| panic!("no {start}*{end} in {files:?}"));
        assert_eq!(matching.next(), None, "{files:?}");
        directory.join(file)
    };
    assert_eq!(files.len(), 5, "one capture each, two directions of Opus, one of PCMU: {files:?}");
    for (leg, talker) in ["a", "b"].iter().zip(&talkers) {
        let file = of("opus_1.", &format!(".{leg}.ogg"));
        let probed = probe(&file);
        assert!(probed.contains("codec_name=opus"), "{probed}");
        let (packets, seconds) = opus_packets(&file);
        let said = fs::read(&talker.opus).expect("the talker wrote it");
        assert!(packets == said, "leg {leg}: {} octets said, {} others recorded", said.len(), packets.len());
        let duration: f64 = field(&probed, "duration").parse().expect("a number");
        assert!((duration - seconds).abs() < 0.1, "{duration} against {seconds}");
        println!("leg {leg}: {} octets of Opus in {duration} s, identical", said.len());
    }
    let wav = of("pcmu_2.", ".a.wav");
    let probed = probe(&wav);
    for expected in ["codec_name=pcm_mulaw", "sample_rate=8000", "channels=1"] {
        assert!(probed.contains(expected), "{expected}: {probed}");
    }
    let raw = machine.path("recorded.ul");
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&wav)
        .args(["-c", "copy", "-f", "mulaw"])
        .arg(&raw));
    let recorded = fs::read(raw).expect("ffmpeg wrote it");
    let said = frames.concat();
    assert!(recorded == said, "{} octets said, {} others recorded", said.len(), recorded.len());

    let lines = tshark(
        &of("pcmu_2.", ".pcapng"),
        &[
            "rtp.seq",
            "rtp.p_type",
            "ip.src",
            "ip.dst",
            "udp.dstport",
            "frame.interface_name",
            "frame.interface_description",
            "rtp.payload",
        ],
    );
    let rtp: Vec<_> = lines.iter().filter(|line| !line[0].is_empty()).collect();
    assert_eq!(rtp.len(), frames.len());
    for (line, frame) in rtp.iter().zip(&frames) {
        assert_eq!(line[1..7], ["0", "10.78.1.2", "10.78.1.1", "20002", "leg a", "session pcmu 2"]);
        let hex: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(line[7], hex);
    }
    assert_eq!(lines.len(), frames.len() + 1, "and the report");
    let lines = tshark(&of("opus_1.", ".pcapng"), &["rtp.ssrc", "frame.interface_name"]);
    for (ssrc, leg) in SSRC.iter().zip(["leg a", "leg b"]) {
        let own = lines
            .iter()
            .filter(|line| line[0] == format!("0x{ssrc:08x}"))
            .inspect(|line| assert_eq!(line[1], leg));
        assert!(own.count() > 100, "SSRC {ssrc:#x}");
    }
    for file in &files {
        let mode = fs::metadata(directory.join(file)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    assert_eq!(fs::metadata(&directory).expect("there").permissions().mode() & 0o777, 0o700);
}

/// A tap is switched on and off while the call goes on: by reading the configuration again.
#[test]
fn a_tap_is_switched_on_and_off_while_the_call_goes_on() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.78.1.2/24"], &["10.78.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let directory = machine.path("tap");
    let leg = |side: u8| LegText::new(&format!("10.78.{side}.1:20000"), &format!("10.78.{side}.2:30000"));
    let mut config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.78.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.78.2.1/24"]),
        ],
        sessions: vec![SessionText::new("call", leg(1), leg(2))],
        tap: Some((tap_section(&directory, "formats = [\"pcapng\"]"), Vec::new())),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let session = config.sessions[0].clone();
    let mut caller = Phone::new(&namespace, &session.a, 1, 1);
    let mut callee = Phone::new(&namespace, &session.b, 2, 1);
    connect(&mut caller, &mut callee, LIMIT);
    let mut talk = |packets: usize| {
        for _ in 0..packets {
            caller.talk();
            assert!(callee.receive(LIMIT).is_some(), "lost");
        }
    };
    let records = |page: &Scrape| page.sum("voxlane_tap_records_total", &[]);
    talk(50);
    assert_eq!(records(&gateway.scrape()), 0, "nobody asked for a tap");
    let switch = |config: &mut ConfigText, tapped: Vec<usize>, told: &str| {
        config.tap.as_mut().expect("set above").1 = tapped;
        let before = gateway.log().matches(told).count();
        gateway.reload(&machine, config);
        wait_until(told, LIMIT, || (gateway.log().matches(told).count() > before).then_some(()));
    };
    for round in 1..=2 {
        switch(&mut config, vec![0], "tap begins");
        talk(10);
        let begun = records(&gateway.scrape());
        talk(100);
        let page = gateway.quiet_scrape();
        assert_eq!(records(&page) - begun, 100, "every packet from then on");
        switch(&mut config, vec![], "tap ends");
        let ended = records(&gateway.scrape());
        talk(50);
        assert_eq!(records(&gateway.quiet_scrape()), ended, "none after that");
        gateway.wait_for("the file to be complete", LIMIT, |page| {
            (page.sum("voxlane_tap_files_total", &[("outcome", "completed")]) == round).then_some(())
        });
        assert_eq!(names(&directory).iter().filter(|name| name.ends_with(".pcapng")).count() as u64, round);
    }
    let page = gateway.scrape();
    assert_eq!(lost(&page), BTreeMap::new());
    let total = records(&page);
    gateway.stop();
    let captured: usize =
        names(&directory).iter().map(|name| tshark(&directory.join(name), &["frame.number"]).len()).sum();
    assert_eq!(captured as u64, total, "all records are in the two captures");
}

/// Files that are full end, and the next ones go on: what ffprobe and tshark read of them, one after the other, is all that
/// was said.
#[test]
fn a_long_call_fills_one_file_after_the_other() {
    const PACKETS: u32 = 15_000;
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.78.1.2/24"], &["10.78.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let directory = machine.path("tap");
    let leg = |side: u8, format| LegText {
        formats: vec![format],
        ..LegText::new(&format!("10.78.{side}.1:20000"), &format!("10.78.{side}.2:30000"))
    };
    let mut a = leg(1, PCMU);
    a.formats.push(OPUS);
    let mut b = leg(2, PCMU);
    b.formats.push(OPUS);
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.78.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.78.2.1/24"]),
        ],
        sessions: vec![SessionText::new("long", a.clone(), b.clone())],
        tap: Some((tap_section(&directory, "max_file_mib = 1"), vec![0])),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let mut caller = Phone::new(&namespace, &a, 7, 1);
    let mut callee = Phone::new(&namespace, &b, 8, 1);
    // The first ones find the way; they are recorded, too.
    let mut before = [0, 0];
    wait_until("a packet to come through", LIMIT, || {
        let packet = caller.sealer().rtp_at(0, before[0] * 160, &[0xd5; 160]);
        caller.send(&packet);
        before[0] += 1;
        callee.hears_packet(Duration::from_millis(100)).then_some(())
    });
    wait_until("a packet to come back", LIMIT, || {
        let packet = callee.sealer().rtp_at(96, before[1] * 960, &[9 << 3, 1]);
        callee.send(&packet);
        before[1] += 1;
        caller.hears_packet(Duration::from_millis(100)).then_some(())
    });
    // Each hears the other's packets, so that none is lost on the way; what is in them is looked at in the files.
    let (mut pcmu, mut opus) = (Vec::new(), Vec::new());
    for number in 0..PACKETS {
        let said: Vec<u8> = (0..160).map(|at| (number % 251) as u8 ^ at).collect();
        let packet = caller.sealer().rtp_at(0, (before[0] + number) * 160, &said);
        caller.send(&packet);
        pcmu.extend(said);
        let mut said = vec![9 << 3, number as u8];
        said.resize(150 + number as usize % 20, 0x5a);
        let packet = callee.sealer().rtp_at(96, (before[1] + number) * 960, &said);
        callee.send(&packet);
        opus.extend(said);
        assert!(callee.hears_packet(LIMIT) && caller.hears_packet(LIMIT), "packet {number} is lost");
    }
    let page = gateway.quiet_scrape();
    let records = page.sum("voxlane_tap_records_total", &[]);
    wait_until("the recorder to have written all but the last second", LIMIT, || {
        let page = gateway.scrape();
        (page.sum("voxlane_tap_files_total", &[("outcome", "completed")]) >= 8).then_some(())
    });
    let page = gateway.scrape();
    assert_eq!(lost(&page), BTreeMap::new());
    gateway.stop();

    let files = names(&directory);
    let of = |end: &str| {
        let number = |name: &str| {
            let stem = name.strip_suffix(end).expect("filtered");
            stem.rsplit_once('-').map_or(1, |(_, number)| number.parse().expect("a number"))
        };
        let mut found: Vec<(u32, PathBuf)> = files
            .iter()
            .filter(|name| name.ends_with(end))
            .map(|name| (number(name), directory.join(name)))
            .collect();
        found.sort();
        assert!(found.iter().zip(1..).all(|((number, _), place)| *number == place), "{files:?}");
        for (_, file) in &found {
            let len = fs::metadata(file).expect("there").len();
            assert!(len <= 1 << 20, "{}: {len}", file.display());
            assert_eq!(fs::metadata(file).expect("there").permissions().mode() & 0o777, 0o600);
        }
        found.into_iter().map(|(_, file)| file).collect::<Vec<_>>()
    };
    let wavs = of(".wav");
    assert!(wavs.len() >= 3, "{files:?}");
    let (mut recorded, mut seconds) = (Vec::new(), 0.0);
    for (number, wav) in wavs.iter().enumerate() {
        let probed = probe(wav);
        assert!(probed.contains("codec_name=pcm_mulaw"), "{probed}");
        seconds += field(&probed, "duration").parse::<f64>().expect("a number");
        let raw = machine.path(&format!("recorded{number}.ul"));
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(wav)
            .args(["-c", "copy", "-f", "mulaw"])
            .arg(&raw));
        recorded.extend(fs::read(raw).expect("ffmpeg wrote it"));
    }
    assert!(recorded.ends_with(&pcmu), "{} octets said, {} recorded", pcmu.len(), recorded.len());
    assert!((seconds - recorded.len() as f64 / 8_000.0).abs() < 0.01, "{seconds}");
    let oggs = of(".ogg");
    assert!(oggs.len() >= 3, "{files:?}");
    let (mut recorded, mut seconds) = (Vec::new(), 0.0);
    for ogg in &oggs {
        let probed = probe(ogg);
        assert!(probed.contains("codec_name=opus"), "{probed}");
        let (packets, its_seconds) = opus_packets(ogg);
        let duration: f64 = field(&probed, "duration").parse().expect("a number");
        assert!((duration - its_seconds).abs() < 0.1, "{duration} against {its_seconds}");
        recorded.extend(packets);
        seconds += its_seconds;
    }
    assert!(recorded.ends_with(&opus), "{} octets said, {} recorded", opus.len(), recorded.len());
    assert!((seconds - f64::from(PACKETS + before[1]) * 0.02).abs() < 0.001, "{seconds}");
    let captures = of(".pcapng");
    assert!(captures.len() >= 5, "{files:?}");
    let captured: Vec<_> =
        captures.iter().flat_map(|file| tshark(file, &["rtp.seq", "frame.interface_name"])).collect();
    assert_eq!(captured.len() as u64, records);
    for leg in ["leg a", "leg b"] {
        let own: Vec<u16> = captured
            .iter()
            .filter(|line| line[1] == leg)
            .map(|line| line[0].parse().expect("a number"))
            .collect();
        assert!(
            own.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
            "{leg}: in order, none missing"
        );
        assert!(own.len() as u32 >= PACKETS, "{leg}: {}", own.len());
    }
    println!(
        "{} captures, {} WAV and {} Ogg files hold {PACKETS} packets each way",
        captures.len(),
        wavs.len(),
        oggs.len()
    );
}

/// Two million packets while all sessions are tapped onto a disk of 8 MiB: not one is lost, none costs a system call or an
/// allocation, and what the tap lost is counted to the record.
#[test]
fn a_full_disk_loses_tap_data_and_no_voice() {
    let machine = Machine::take();
    let disk = SmallDisk::mount(&machine, 8);
    let directory = disk.path.join("tap");
    let section = tap_section(&directory, "formats = [\"pcapng\"]\nblocks = 64");
    let page = flood(&machine, &section, 1_000_000, |_| {});
    let lost = lost(&page);
    assert!(lost.get("disk_full").is_some_and(|records| *records > 10_000), "{lost:?}");
    let written: u64 = names(&directory)
        .iter()
        .map(|name| tshark(&directory.join(name), &["frame.number"]).len() as u64)
        .sum();
    let records = page.sum("voxlane_tap_records_total", &[]);
    let by_recorder: u64 =
        lost.iter().filter(|(reason, _)| *reason != "no_block").map(|(_, count)| count).sum();
    assert_eq!(written + by_recorder, records, "what is not in a file is counted: {lost:?}");
    assert!(written > 1_000, "{written}");
    println!("{records} records, {written} on the full disk, lost: {lost:?}");
}

/// The recorder's thread is stopped by a debugger in the middle of a flood, and let go again.
#[test]
fn a_recorder_that_stands_still_loses_tap_data_and_no_voice() {
    let machine = Machine::take();
    let directory = machine.path("tap");
    let section = tap_section(&directory, "formats = [\"pcapng\"]\nblocks = 16\nmax_file_mib = 64");
    let page = flood(&machine, &section, 1_000_000, |gateway| {
        let thread = Pid::from_raw(thread_named(gateway.pid(), "tap"));
        ptrace::seize(thread, ptrace::Options::empty()).expect("root may");
        ptrace::interrupt(thread).expect("it is ours now");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        let full = |page: &Scrape| lost(page).get("no_block").copied().unwrap_or(0);
        let before = full(&gateway.scrape());
        gateway.wait_for("records to find no block", LIMIT, |page| {
            (full(page) > before + 100_000).then_some(())
        });
        ptrace::detach(thread, None).expect("it is stopped");
    });
    let lost = lost(&page);
    assert!(lost["no_block"] > 100_000, "{lost:?}");
    println!("{} records, lost: {lost:?}", page.sum("voxlane_tap_records_total", &[]));
}

/// A flood over memif through locked workers with all sessions tapped; `meanwhile` runs in the middle of it. Holds that
/// no packet is lost, nor an allocation or a block left; answers the last page.
fn flood(machine: &Machine, section: &str, packets: u64, meanwhile: impl FnOnce(&Gateway)) -> Scrape {
    const SESSIONS: u16 = 20;
    let site = MemifSite::new(machine, 79);
    let config = ConfigText {
        lockdown: true,
        ports: site.ports(),
        sessions: (0..SESSIONS).map(|number| site.session(number)).collect(),
        tap: Some((section.to_owned(), (0..SESSIONS.into()).collect())),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(machine, &config);
    gateway.wait_for("the worker to lock itself out", LIMIT, |page| {
        (page.sum("voxlane_worker_lockdown", &[("worker", "0")]) == 1).then_some(())
    });
    let each = (packets / (2 * u64::from(SESSIONS))).to_string();
    let load = Voxload::start(
        machine,
        &gateway,
        &site.clients(),
        &["--flood", "--packets", &each, "--drain", "3000"],
    );
    gateway.wait_for("records", LIMIT, |page| {
        (page.sum("voxlane_tap_records_total", &[]) > 1_000).then_some(())
    });
    meanwhile(&gateway);
    let verdict = load.finish(Duration::from_secs(180));
    verdict.assert_pass();
    let page = gateway.quiet_scrape();
    let records = page.sum("voxlane_tap_records_total", &[]);
    let no_block = lost(&page).get("no_block").copied().unwrap_or(0);
    let forwarded = page.sum("voxlane_tx_packets_total", &[]);
    assert!(
        records + no_block >= forwarded,
        "{records} + {no_block} of {forwarded}: every packet is a record or a loss"
    );
    // The recorder comes to the end of what it has.
    let settled = wait_until("the tap to be quiet", LIMIT, || {
        let before = gateway.scrape();
        std::thread::sleep(Duration::from_millis(1_200));
        let page = gateway.scrape();
        let of = |page: &Scrape| (lost(page), page.sum("voxlane_tap_written_bytes_total", &[]));
        (of(&before) == of(&page)).then_some(page)
    });
    let stopped = gateway.stop();
    verdict.assert_accounted(&stopped, &["a", "b"]);
    let worker = &stopped.report["workers"][0];
    assert_eq!((worker["heap_allocations"].as_u64(), worker["heap_frees"].as_u64()), (Some(0), Some(0)));
    assert_eq!(worker["lockdown"], true);
    settled
}

fn tap_section(directory: &Path, more: &str) -> String {
    format!("directory = \"{}\"\nmin_free_mib = 0\n{more}", directory.display())
}

/// A disk that is soon full.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(machine: &Machine, mib: u32) -> Self {
        let path = machine.path("disk");
        fs::create_dir(&path).expect("the test's directory is writable");
        sh(&format!("mount -t tmpfs -o size={mib}m,mode=700 tmpfs {}", path.display()));
        SmallDisk { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().into_string().expect("ASCII")).collect();
    names.sort();
    names
}

/// Losses by reason; only reasons that occurred.
fn lost(page: &Scrape) -> BTreeMap<String, u64> {
    let samples = page.samples("voxlane_tap_lost_total", &[]).filter(|sample| sample.value > 0.0);
    samples.map(|sample| (sample.labels["reason"].clone(), sample.value as u64)).collect()
}

fn probe(file: &Path) -> String {
    require("ffprobe", "ffmpeg");
    run(Command::new("ffprobe").args(["-v", "error", "-show_streams", "-show_format"]).arg(file))
}

fn field<'t>(text: &'t str, key: &str) -> &'t str {
    let value = |line: &'t str| line.strip_prefix(key)?.strip_prefix('=');
    text.lines().find_map(value).unwrap_or_else(|| panic!("no {key} in {text}"))
}

/// The octets of all packets of an Ogg/Opus file, and how long it plays in seconds.
fn opus_packets(file: &Path) -> (Vec<u8>, f64) {
    let mut reader = ogg::PacketReader::new(fs::File::open(file).expect("there"));
    let (mut packets, mut end) = (Vec::new(), 0);
    while let Some(packet) = reader.read_packet().expect("a valid file") {
        end = packet.absgp_page();
        packets.push(packet.data);
    }
    (packets.split_off(2).concat(), end as f64 / 48_000.0)
}

/// Fields of each packet of a capture, with everything in UDP that looks like RTP taken for RTP.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    require("tshark", "tshark");
    let mut command = Command::new("tshark");
    command.args(["-n", "--enable-heuristic", "rtp_udp", "--enable-heuristic", "rtcp_udp", "-T", "fields"]);
    command.arg("-r").arg(file);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark is installed");
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn thread_named(process: u32, name: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the gateway runs");
    let mut found = tasks
        .flatten()
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    let task = found.next().expect("the recorder has a thread");
    task.file_name().to_string_lossy().parse().expect("a thread id")
}
