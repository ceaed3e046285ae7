//! The way of a configuration from its files to [`Config`]: read, parse, validate, collect.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::cores;
use super::error::{ConfigErrors, FileId, Problems, shown_path};
use super::json::node_from_json;
use super::model::{Config, Session};
use super::node::{Node, Value};
use super::port;
use super::reader::{Name, Reader, Scope, Subject};
use super::sections;
use super::session::{self, World};

/// Room for one session's line; longer ones make the buffer grow.
const LINE_BYTES: usize = 4096;

impl Config {
    /// Reads the configuration file at `path` and the sessions file it may name (relative to its directory).
    ///
    /// # Errors
    /// Everything wrong with either, at once; a file that cannot be read is one of the errors.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let problems = Problems::default();
        let file = problems.add_file(shown_path(path));
        let base_dir = path.parent().unwrap_or(Path::new(""));
        let text = match fs::read(path).map(Zeroizing::new) {
            Ok(text) => text,
            Err(error) => {
                let (message, remedy) = unreadable(&error, "configuration file");
                problems.push(file, None, message, remedy);
                return finish(problems, None);
            }
        };
        match utf8(&text) {
            Ok(text) => {
                let config = build(file, text, base_dir, &problems);
                finish(problems, config)
            }
            Err(line) => {
                problems.push(file, Some(line), "not valid UTF-8", "save the file as UTF-8 text");
                finish(problems, None)
            }
        }
    }

    /// Reads a configuration from `text`; errors call it `name`, files it names are relative to `base_dir`.
    ///
    /// # Errors
    /// Everything wrong with it, at once.
    pub fn parse(name: &str, text: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        let problems = Problems::default();
        let file = problems.add_file(name);
        let config = build(file, text, base_dir, &problems);
        finish(problems, config)
    }
}

/// The configuration if nothing was wrong with it.
fn finish(problems: Problems, config: Option<Config>) -> Result<Config, ConfigErrors> {
    match (problems.into_errors(), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        (None, None) => unreachable!("only a recorded error keeps a configuration from being built"),
    }
}

/// Validates everything in `text`. What comes back is only sound if `problems` stayed empty: wrong values
/// were replaced by defaults so that the rest could be looked at.
fn build(file: FileId, text: &str, base_dir: &Path, problems: &Problems) -> Option<Config> {
    let root = Node::from_toml(text, file, problems)?;
    let Value::Table(table) = &root.value else {
        return None;
    };
    let scope = Scope { problems, file, subject: Subject::default() };
    let root = Reader::new(scope, table, None);

    let gateway = sections::gateway(&root, base_dir);
    let metrics = sections::metrics(&root);
    let host = sections::host(&root);
    let srtp = sections::srtp(&root);
    let strictness = sections::gate(&root);
    let cores = cores::cores(&root, &cores::allowed());
    let (ports, all_addresses_known) = port::ports(&root);
    let worker = sections::worker(&root, &ports);
    let tap = sections::tap(&root, base_dir);
    let memory = sections::memory(&root, &ports, cores.workers.len(), tap.as_ref());

    let mut sessions = Vec::new();
    let (mut limits, sessions_file) = sections::sessions(&root, base_dir);
    let mut world = World::new(&ports, all_addresses_known, strictness, limits.timeouts, tap.is_some());
    for (number, (table, line)) in root.tables("session").into_iter().enumerate() {
        let name = Name::Number(number.saturating_add(1));
        sessions.extend(session::session(&mut world, scope, name, table, line));
    }
    if let Some((path, line)) = sessions_file {
        load_sessions(&path, scope, line, &mut world, &mut sessions);
    }
    let configured = sessions.len() as u32;
    match limits.capacity {
        0 => limits.capacity = configured + sections::SPARE_SESSIONS,
        capacity if capacity < configured => scope.error(
            None,
            format_args!(
                "[sessions] capacity = {capacity} is less than the {configured} sessions that are configured"
            ),
            format!("set capacity = {configured} or more, or leave it out"),
        ),
        _ => {}
    }
    root.finish();
    drop(world);
    Some(Config { gateway, memory, cores, worker, metrics, tap, host, ports, srtp, limits, sessions })
}

/// Reads the sessions file that line `line` of the configuration names: one JSON object per line.
fn load_sessions(
    path: &Path,
    scope: Scope<'_>,
    line: u32,
    world: &mut World<'_>,
    sessions: &mut Vec<Session>,
) {
    let name = shown_path(path);
    let unreadable = |error: &io::Error| {
        let (message, remedy) = unreadable(error, "sessions file");
        scope.error(line, format_args!("sessions: file {name} {message}"), remedy);
    };
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::with_capacity(64 * 1024, file),
        Err(error) => return unreadable(&error),
    };
    let scope = Scope { file: scope.problems.add_file(&*name), ..scope };
    // The line holds key material: one buffer for all lines, wiped at the end.
    let mut buffer = Zeroizing::new(Vec::with_capacity(LINE_BYTES));
    for number in 1_u32.. {
        buffer.clear();
        match reader.read_until(b'\n', &mut buffer) {
            Ok(0) => return,
            Ok(_) => sessions.extend(session_from_line(&buffer, number, scope, world)),
            Err(error) => return unreadable(&error),
        }
    }
}

fn session_from_line(bytes: &[u8], number: u32, scope: Scope<'_>, world: &mut World<'_>) -> Option<Session> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        scope.error(number, "not valid UTF-8", "save the file as UTF-8 text");
        return None;
    };
    // Without its end, so that columns count within the line; `\r\n` is welcome.
    let text = text.trim_end();
    if text.is_empty() {
        return None;
    }
    let remedy = "write one session per line, as one JSON object";
    let node = match node_from_json(text, number) {
        Ok(node) => node,
        Err(message) => {
            scope.error(number, format_args!("not valid JSON: {message}"), remedy);
            return None;
        }
    };
    let Value::Table(table) = &node.value else {
        scope.error(
            number,
            format_args!("this line is {}, but must be an object", node.value.kind()),
            remedy,
        );
        return None;
    };
    session::session(world, scope, Name::None, table, number)
}

/// Message and remedy for a file that cannot be read.
fn unreadable(error: &io::Error, what: &str) -> (String, String) {
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => format!("give the path of a {what}"),
        io::ErrorKind::PermissionDenied => format!("let this user read it, or run as the {what}'s owner"),
        io::ErrorKind::IsADirectory => format!("give the path of a {what} in it"),
        _ => "check the file and the disk it is on".to_owned(),
    };
    (format!("cannot be read: {reason}"), remedy)
}

/// The text, or the line of the first byte that is not UTF-8.
fn utf8(bytes: &[u8]) -> Result<&str, u32> {
    std::str::from_utf8(bytes).map_err(|error| {
        let newlines = bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count();
        u32::try_from(newlines.saturating_add(1)).unwrap_or(u32::MAX)
    })
}

/// `path` as the configuration means it: relative to the file that names it.
pub(super) fn resolve(base_dir: &Path, path: &str) -> PathBuf {
    base_dir.join(path)
}
