//! Makes `fuzz/seeds` from what `scripts/fuzz-seeds.sh` captured of real runs; run by it.

use std::fs;
use std::path::{Path, PathBuf};

use voxlane::session::Journal;

/// Seeds of one kind that are kept.
const MOST: usize = 3;

fn captures() -> PathBuf {
    PathBuf::from(std::env::var_os("CAPTURES").expect("CAPTURES: run scripts/fuzz-seeds.sh"))
}

/// Up to `MOST` files of the captures whose name begins with `prefix`.
fn captured(prefix: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(captures()).expect("a folder").map(|file| file.expect("an entry").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "nothing was captured as {prefix}");
    let bytes = files.iter().map(|file| fs::read(file).expect("a file"));
    bytes.filter(|bytes| !bytes.is_empty() && bytes.len() < 1_400).take(MOST).collect()
}

fn seed(target: &str, name: &str, number: usize, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the repository");
    fs::write(folder.join(format!("{name}-{number}")), bytes).expect("the repository");
}

/// The packets of a capture file in either byte order of this machine's tcpdump (little-endian).
fn packets(file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(captures().join(file)).expect("a capture");
    let (mut rest, mut packets) = (&bytes[24..], Vec::new());
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four octets")) as usize;
        packets.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    packets
}

#[test]
#[ignore = "run by scripts/fuzz-seeds.sh"]
fn make_seeds() {
    let step = |kind: usize, bytes: &[u8]| {
        let mut octets = vec![(kind | (bytes.len() >> 8) << 6) as u8, bytes.len() as u8];
        octets.extend(bytes);
        octets
    };
    let mut talk = vec![0_u8];
    // Captured name, target of its payload, payload type of the fuzzed profile.
    for (name, payload_target, payload_type) in [
        ("opus", "opus", 111),
        ("pcmu", "pcm", 0),
        ("pcma", "pcm", 8),
        ("g722", "pcm", 9),
        ("l16", "pcm", 11),
        ("dtmf", "telephone_event", 101),
        ("aac", "rfc3640", 100),
    ] {
        for (number, mut packet) in captured(&format!("rtp-{name}")).into_iter().enumerate() {
            seed("rtp", name, number, &packet);
            let payload = match payload_target {
                "pcm" => [&[if name == "l16" { 4 } else { 1 }], &packet[12..]].concat(),
                _ => packet[12..].to_vec(),
            };
            seed(payload_target, name, number, &payload);
            packet[1] = packet[1] & 0x80 | payload_type;
            seed("inspect", name, number, &packet);
            seed("reframe", name, number, &[&[1], &packet[..]].concat());
            packet[1] = 96;
            if packet.len() < 1_024 {
                talk.extend(step(3, &packet));
                talk.extend(step(2, &packet));
            }
        }
    }
    for (number, frame) in captured("adts").into_iter().enumerate() {
        seed("adts", "faac", number, &frame);
        let packet = [&[0x80, 99, 0, number as u8, 0, 0, 4, 0, 1, 2, 3, 4], &frame[..]].concat();
        seed("inspect", "adts", number, &packet);
        seed("reframe", "adts", number, &[&[3], &packet[..]].concat());
    }
    for (number, report) in captured("rtcp").into_iter().enumerate() {
        seed("rtcp", "report", number, &report);
        seed("inspect", "rtcp", number, &report);
        seed("reframe_rtcp", "report", number, &[&[3, 1, 2, 3], &report[..]].concat());
        talk.extend(step(4, &report));
        talk.extend(step(2, &report));
    }
    talk.extend(step(7, &[]));
    for (number, suites) in [0x00, 0x32, 0x41].into_iter().enumerate() {
        talk[0] = suites;
        seed("pipeline", "call", number, &talk);
    }
    // RFC 3389: level and two coefficients; GStreamer sends none.
    seed("comfort_noise", "rfc3389", 0, &[40, 124, 130]);
    // AAC-LC, 48 kHz, stereo; and HE-AAC with its extension (ISO/IEC 14496-3 §1.6.2.1).
    seed("aac_config", "lc", 0, &[0x11, 0x90]);
    seed("aac_config", "he", 0, &[0x2b, 0x11, 0x88, 0x00]);

    network();
    texts();
    journal();
}

/// Frames from a network namespace and from the load generator.
fn network() {
    for (number, frame) in packets("voxload.pcap").into_iter().take(MOST).enumerate() {
        seed("ethernet", "srtp", number, &frame);
        seed("ipv4", "srtp", number, &frame[14..]);
        seed("udp", "srtp", number, &frame[34..]);
        seed(
            "pipeline",
            "frame",
            number,
            &[&[0, (frame.len() >> 8 << 6) as u8, frame.len() as u8], &frame[..]].concat(),
        );
    }
    let mut counts = std::collections::HashMap::new();
    for frame in packets("network.pcap").into_iter().chain(packets("tagged.pcap")) {
        let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
        let (target, body) = match ethertype {
            0x8100 => ("vlan", frame[14..].to_vec()),
            0x0806 => ("arp", frame[14..].to_vec()),
            0x0800 if frame[23] == 1 => ("icmpv4", frame[34..].to_vec()),
            0x86dd if frame[20] == 58 && [135, 136].contains(&frame[54]) => {
                ("ndp", [&[frame[21]], &frame[54..]].concat())
            }
            0x86dd if frame[20] == 58 => ("icmpv6", frame[54..].to_vec()),
            _ => continue,
        };
        let count: &mut usize = counts.entry(target).or_default();
        if *count < MOST {
            seed(target, "network", *count, &body);
            seed("ethernet", target, *count, &frame);
            if ethertype == 0x86dd {
                seed("ipv6", target, *count, &frame[14..]);
            }
        }
        *count += 1;
    }
    assert_eq!(counts.len(), 5, "{counts:?}");
}

/// What the repository ships, and what it calls broken.
fn texts() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |folder: &str, ending: &str| {
        let files = fs::read_dir(repository.join(folder)).expect("a folder");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
        files.retain(|file| file.extension().is_some_and(|of| of == ending));
        files.sort_unstable();
        files.into_iter().map(|file| fs::read(file).expect("a file")).collect::<Vec<_>>()
    };
    for (number, text) in read("dpdk-config", "toml").into_iter().enumerate() {
        seed("config", "shipped", number, &text);
    }
    for (number, text) in read("tests/broken-configs", "toml").into_iter().enumerate() {
        seed("config", "broken", number, &text);
    }
    for (number, text) in read("tests/broken-configs", "jsonl").into_iter().enumerate() {
        seed("sessions", "broken", number, &text);
    }
    seed("sessions", "voxload", 0, &fs::read(captures().join("sessions.jsonl")).expect("a sessions file"));
}

/// The journal of a run that sealed and was stopped, and of one that was killed.
fn journal() {
    let directory = PathBuf::from(format!("/dev/shm/voxlane-seeds-{}", std::process::id()));
    let (memory, disk) = (directory.join("memory"), directory.join("disk"));
    for part in [&memory, &disk] {
        fs::create_dir_all(part).expect("a memory file system");
    }
    let mut journal = Journal::open(&memory, Some(&disk), "fuzz", 8).expect("a new journal");
    let [(mut slot, _), _] = journal.slots([1; 16]).expect("an empty journal");
    let [_, (mut other, _)] = journal.slots([2; 16]).expect("an empty journal");
    slot.cover(7, 1_000);
    other.cover(7, 3);
    let image = |choice: u8, folder: &Path| {
        let bytes = fs::read(folder.join("fuzz.indices")).expect("an image");
        [&[choice], &bytes[..]].concat()
    };
    seed("journal", "killed", 0, &image(0, &memory));
    seed("journal", "killed", 1, &image(3, &disk));
    slot.settle(Some(900));
    other.settle(Some(3));
    drop((slot, other));
    journal.close().expect("the directory is ours");
    seed("journal", "stopped", 0, &image(5, &disk));
    fs::remove_dir_all(directory).expect("our own");
}
