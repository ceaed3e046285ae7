//! The two processes of the demo: started, watched, stopped in order, never left behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::plan::Scene;
use super::{DemoArgs, DemoError};

/// How long a process may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A child in a process group of its own, so that Ctrl-C reaches the demo alone and the two stop in order.
struct Process {
    child: Child,
    status: Option<ExitStatus>,
}

/// The gateway.
pub(super) struct GatewayProcess {
    process: Process,
    log: PathBuf,
    report: PathBuf,
}

/// The generator.
pub(super) struct GeneratorProcess {
    process: Process,
    log: PathBuf,
    report: PathBuf,
    progress: Receiver<Value>,
}

/// What the generator tells.
pub(super) enum GeneratorEvent {
    /// One second's figures.
    Progress(Value),
    /// It has ended, with its report if it left one.
    Ended(Option<Value>),
}

impl GatewayProcess {
    pub(super) fn spawn(scene: &Scene, args: &DemoArgs) -> Result<Self, DemoError> {
        let (log, report) = (scene.file("gateway.log"), scene.file("gateway-report.json"));
        let executable = std::env::current_exe()
            .map_err(|reason| DemoError::Io { what: "finding the voxlane binary".to_owned(), reason })?;
        let mut command = Command::new(executable);
        command.arg("run").arg("--config").arg(scene.file("gateway.toml")).arg("--report").arg(&report);
        command.arg("--crypto").arg(
            args.crypto.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
        );
        command.stdout(Stdio::null()).stderr(create(&log)?);
        Ok(GatewayProcess { process: Process::spawn(command, "the gateway")?, log, report })
    }

    pub(super) fn wait_until_ready(&mut self, limit: Duration, stop: &AtomicBool) -> Result<(), DemoError> {
        let deadline = Instant::now() + limit;
        loop {
            let ready = read_log(&self.log).lines().any(|line| line.contains("ready"));
            let ended = self.process.poll().is_some();
            if ready && !ended {
                return Ok(());
            }
            if ended || Instant::now() > deadline || stop.load(Ordering::Acquire) {
                return Err(DemoError::Gateway(read_log(&self.log)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn metrics_address(&self) -> Option<SocketAddr> {
        let log = read_log(&self.log);
        let (_, rest) = log.split_once("metrics at http://")?;
        rest.split('/').next()?.parse().ok()
    }

    /// The metrics page as it is now; `None` if it cannot be had within a quarter of a second.
    pub(super) fn metrics_page(&self) -> Option<String> {
        let address = self.metrics_address()?;
        let limit = Duration::from_millis(250);
        let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Stops the gateway and returns whether it was satisfied with itself, and its final report.
    pub(super) fn stop(mut self) -> Result<(bool, Value), DemoError> {
        self.process.terminate();
        let status = self.process.wait(STOP_LIMIT);
        let report = read_json(&self.report)
            .ok_or_else(|| DemoError::GatewayEnded { how: how_it_ended(status), log: read_log(&self.log) })?;
        Ok((status.is_some_and(|status| status.success()), report))
    }
}

fn how_it_ended(status: Option<ExitStatus>) -> String {
    match status {
        None => "did not end in time".to_owned(),
        Some(status) if status.signal() == Some(signal_hook::consts::SIGSYS) => {
            "was ended because a worker made a system call under lockdown".to_owned()
        }
        Some(status) => format!("ended with {status}"),
    }
}

impl GeneratorProcess {
    pub(super) fn spawn(scene: &Scene, args: &DemoArgs) -> Result<Self, DemoError> {
        let (log, report) = (scene.file("generator.log"), scene.file("generator-report.json"));
        let mut command = Command::new(generator_path()?);
        command.arg("run").arg("--config").arg(scene.file("gateway.toml"));
        for port in scene.generator_ports() {
            command.arg("--port").arg(port);
        }
        command
            .args(["--core", &scene.generator_core.to_string()])
            .args(["--file-prefix", &format!("demo-load-{}", std::process::id())])
            .args(["--seconds", &args.seconds.to_string()])
            .args(["--payload", &args.payload.to_string()])
            .args(["--progress", "json"])
            .arg("--json")
            .arg(&report);
        if args.flood {
            command.arg("--flood");
        }
        command.stdout(Stdio::piped()).stderr(create(&log)?);
        let mut process = Process::spawn(command, "the generator")?;
        let progress = process.child.stdout.take().map(lines_of_json).unwrap_or_else(|| channel().1);
        Ok(GeneratorProcess { process, log, report, progress })
    }

    /// The next thing that it tells, if it does within `limit`.
    pub(super) fn next_event(&mut self, limit: Duration) -> Option<GeneratorEvent> {
        match self.progress.recv_timeout(limit) {
            Ok(progress) => Some(GeneratorEvent::Progress(progress)),
            Err(RecvTimeoutError::Timeout) => None,
            // Its standard output is closed: it has ended or is about to.
            Err(RecvTimeoutError::Disconnected) => {
                self.process.wait(STOP_LIMIT);
                Some(GeneratorEvent::Ended(read_json(&self.report)))
            }
        }
    }

    pub(super) fn terminate(&mut self) {
        self.process.terminate();
    }

    pub(super) fn succeeded(&mut self) -> bool {
        self.process.wait(STOP_LIMIT).is_some_and(|status| status.success())
    }

    pub(super) fn log_tail(&self) -> String {
        let log = read_log(&self.log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Process {
    fn spawn(mut command: Command, what: &str) -> Result<Self, DemoError> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|reason| DemoError::Io { what: format!("starting {what}"), reason })?;
        Ok(Process { child, status: None })
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    fn terminate(&mut self) {
        if self.poll().is_none()
            && let Some(pid) = Pid::from_raw(self.child.id() as i32)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while self.poll().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.status
    }
}

impl Drop for Process {
    /// Whatever way the demo ends, the process does not outlive it.
    fn drop(&mut self) {
        self.terminate();
        if self.wait(STOP_LIMIT).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `voxload` stands beside `voxlane`.
fn generator_path() -> Result<PathBuf, DemoError> {
    let beside = std::env::current_exe()
        .map_err(|reason| DemoError::Io { what: "finding the voxlane binary".to_owned(), reason })?
        .with_file_name("voxload");
    if beside.exists() {
        return Ok(beside);
    }
    Err(DemoError::Usage(format!(
        "the generator {} does not exist; build it with: cargo build --release --workspace",
        beside.display()
    )))
}

fn lines_of_json(output: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(value) = serde_json::from_str(&line)
                && sender.send(value).is_err()
            {
                break;
            }
        }
    });
    receiver
}

fn create(path: &Path) -> Result<File, DemoError> {
    File::create(path)
        .map_err(|reason| DemoError::Io { what: format!("creating {}", path.display()), reason })
}

fn read_log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}
