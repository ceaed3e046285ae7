//! Programs that are talked to by lines: started, told, asked, stopped in mid-work, never left behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::BenchError;

/// How long a program may take to end after it was asked to.
const END: Duration = Duration::from_secs(20);

/// Lines that are shown of a program that failed.
const SHOWN: usize = 15;

/// A running program.
pub struct Process {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Vec<String>,
    is_paused: bool,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub fn spawn(name: &'static str, mut command: Command) -> Result<Self, BenchError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(BenchError::io(format!("starting {program}")))?;
        let (sender, lines) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as _),
            child.stderr.take().map(|output| Box::new(output) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let input = child.stdin.take();
        Ok(Process { name, child, input, lines, log: Vec::new(), is_paused: false })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// [`BenchError::Process`] when it does not read any more.
    pub fn tell(&mut self, line: &str) -> Result<(), BenchError> {
        let written = self.input.as_mut().map(|input| writeln!(input, "{line}").and_then(|()| input.flush()));
        match written {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failed(format!("does not take the line {line:?}"))),
        }
    }

    /// Waits for a line from which `pick` takes something.
    ///
    /// # Errors
    /// [`BenchError::Process`] after `limit`, or when it ends.
    pub fn ask<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let picked = pick(&line);
                    self.log.push(line);
                    if let Some(value) = picked {
                        return Ok(value);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failed(format!("did not say {what} within {limit:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(format!("ended before it said {what}")));
                }
            }
        }
    }

    /// Stops it where it is, so that others can have its core; [`Process::resume`] lets it go on.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.is_paused = true;
    }

    /// Goes on after [`Process::pause`].
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.is_paused = false;
    }

    /// Asks it to end by SIGTERM.
    pub fn terminate(&mut self) {
        self.resume();
        self.signal(Signal::TERM);
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`BenchError::Process`] if it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("still runs {limit:?} after it was asked to end")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// An error with the end of what it printed.
    pub fn failed(&mut self, problem: impl Into<String>) -> BenchError {
        self.log.extend(self.lines.try_iter());
        let from = self.log.len().saturating_sub(SHOWN);
        BenchError::Process {
            name: self.name.to_owned(),
            problem: problem.into(),
            log: self.log[from..].join("\n"),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended; whoever asks it next will see.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if self.is_paused {
            self.resume();
        }
        // testpmd and voxload leave in good order at the end of their input, and take nobody along.
        self.close_input();
        self.terminate();
        if self.wait(END).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
