//! `voxlane check --config FILE` on configurations that are broken on purpose.
//!
//! Each file of `tests/broken-configs/` begins with the errors it must be refused with, one per line, as
//! the operator reads them: `# expect: name.toml:14: port "a": mtu = 80 ...`. The whole text is compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Fewer would mean that the directory was not read.
const FEWEST_CASES: usize = 40;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken-configs")
}

fn check(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_voxlane"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the voxlane binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("voxlane writes UTF-8")
}

/// The broken configurations: file name, contents, and the errors its first lines announce.
fn cases() -> Vec<(String, String, Vec<String>)> {
    let entries = fs::read_dir(directory()).expect("the broken configurations are in the repository");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the directory is readable").file_name())
        .map(|name| name.into_string().expect("the names are ASCII"))
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    assert!(names.len() >= FEWEST_CASES, "only {} broken configurations were found", names.len());
    let with_contents = |name: String| {
        let contents = fs::read_to_string(directory().join(&name)).expect("the file is readable");
        let expected =
            contents.lines().map_while(|line| line.strip_prefix("# expect: ")).map(String::from).collect();
        (name, contents, expected)
    };
    names.into_iter().map(with_contents).collect()
}

/// Every piece of 12 characters of what follows `inline:` (or stands where a key should) in `contents`.
fn key_pieces(contents: &str) -> Vec<&str> {
    // The test keys are base64 of a three-digit number and a fixed text; the text is what each has in common.
    let runs = contents.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')));
    let keys = runs.filter(|run| run.len() >= 12 && run.contains("IG5vdCBhIHJl"));
    keys.flat_map(|key| (0..=key.len() - 12).filter_map(move |at| key.get(at..at + 12))).collect()
}

#[test]
fn every_broken_configuration_is_refused_with_exactly_its_errors() {
    let mut failures = Vec::new();
    for (name, _, expected) in cases() {
        assert!(!expected.is_empty(), "{name} announces no error");
        let output = check(&directory(), &["--config", &name]);
        let summary = match expected.len() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        let expected = format!("{}\n{summary}\n", expected.join("\n"));
        let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
        if found != (Some(2), "", &expected) {
            failures.push(format!("--- {name}: expected exit code 2 and\n{expected}--- found\n{found:#?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_error_shows_any_key_material() {
    let mut pieces = 0;
    for (name, contents, _) in cases() {
        let lines = fs::read_to_string(directory().join(name.replace(".toml", ".jsonl"))).unwrap_or_default();
        for arguments in [&["--config", &*name][..], &["--json", "--config", &*name]] {
            let output = check(&directory(), arguments);
            for piece in key_pieces(&contents).into_iter().chain(key_pieces(&lines)) {
                pieces += 1;
                let shows =
                    [&output.stdout, &output.stderr].into_iter().any(|shown| text(shown).contains(piece));
                assert!(!shows, "{name}: {} of a key is in the output", piece.len());
            }
        }
    }
    assert!(pieces > 1000, "the search for key material found too little to look for: {pieces}");
}

#[test]
fn errors_as_json_say_the_same() {
    for name in ["everything-at-once.toml", "empty.toml", "sessions-file-lines.toml"] {
        let output = check(&directory(), &["--json", "--config", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let errors: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
        let errors = errors.as_array().expect("the output is an array");
        let as_lines: Vec<String> = errors
            .iter()
            .map(|error| {
                let field =
                    |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{key} is a string: {error}"));
                let line = error["line"].as_u64().map_or(String::new(), |line| format!(":{line}"));
                format!("{}{line}: {}; {}", field("file"), field("message"), field("remedy"))
            })
            .collect();
        let (_, _, expected) = cases().into_iter().find(|case| case.0 == name).expect("the case is there");
        assert_eq!(as_lines, expected, "{name}");
    }
}

#[test]
fn a_missing_configuration_file_is_one_sentence() {
    let output = check(&directory(), &["--config", "no-such-file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "no-such-file.toml: cannot be read: No such file or directory; give the path of a configuration file\n1 error\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn every_shipped_profile_passes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dpdk-config");
    for name in ["demo-memif.toml", "veth-af-xdp.toml", "veth-af-packet.toml", "bare-metal.toml"] {
        let output = check(&directory, &["--config", name]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), stderr), (Some(0), ""), "{name}");
        assert!(stdout.lines().count() == 1 && stdout.contains(name), "{name}: {stdout}");
    }
}
