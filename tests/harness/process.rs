//! A child process whose output is kept line by line and which never outlives its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running child.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    /// Lines of standard output and standard error, in the order in which they were read.
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// A command that the kernel kills if the test dies without running its destructors.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).env("NO_COLOR", "1");
    command
}

impl Process {
    /// Starts `command`, which [`command`] made; `name` is for messages.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let output = Arc::new(Output::default());
        let readers = [
            child.stdout.take().map(|pipe| read_lines(pipe, Arc::clone(&output))),
            child.stderr.take().map(|pipe| read_lines(pipe, Arc::clone(&output))),
        ];
        Process {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            output,
            readers: readers.into_iter().flatten().collect(),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to the child's standard input.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("taken by nobody before drop");
        if let Err(error) = writeln!(stdin, "{line}").and_then(|()| stdin.flush()) {
            panic!("{} does not take {line:?}: {error}\n{}", self.name, self.text());
        }
    }

    /// How many lines there are so far: where [`Process::line_after`] is to start.
    pub fn lines_so_far(&self) -> usize {
        self.output.lines().len()
    }

    /// Waits for a line for which `wanted` gives a value; panics if the process ends or `limit` passes first.
    pub fn line<T>(&mut self, what: &str, limit: Duration, wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.line_after(0, what, limit, wanted)
    }

    /// The same for lines from number `seen` on.
    pub fn line_after<T>(
        &mut self,
        mut seen: usize,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        let output = Arc::clone(&self.output);
        let mut lines = output.lines();
        loop {
            while let Some(line) = lines.get(seen) {
                if let Some(value) = wanted(line) {
                    return value;
                }
                seen += 1;
            }
            let ended = self.child.try_wait().expect("the child is ours").filter(|_| {
                // Everything that it wrote has been read.
                self.readers.iter().all(JoinHandle::is_finished) && lines.len() == seen
            });
            let text = || lines.join("\n");
            if let Some(status) = ended {
                panic!("{} ended with {status} before {what}:\n{}", self.name, text());
            }
            assert!(
                start.elapsed() < limit,
                "{}: waited {limit:?} in vain for {what}:\n{}",
                self.name,
                text()
            );
            let slice = Duration::from_millis(20);
            lines = output.grown.wait_timeout(lines, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id fits"));
        kill(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Waits for the end; panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                for reader in self.readers.drain(..) {
                    let _ = reader.join();
                }
                return status;
            }
            assert!(start.elapsed() < limit, "{} still runs after {limit:?}:\n{}", self.name, self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end and panics unless it was a success.
    pub fn wait_success(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.text());
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.output.lines().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.name, tail(&self.text(), 60));
        }
    }
}

impl Output {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

fn read_lines(pipe: impl Read + Send + 'static, output: Arc<Output>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(1..)) {
            output.lines().push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
            output.grown.notify_all();
            bytes.clear();
        }
    })
}
