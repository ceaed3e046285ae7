//! Why there are no figures.

use std::process::ExitCode;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The command line does not fit the machine.
    #[error("{0}")]
    Usage(String),
    /// A program cannot be started or talked to.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A program did not do what it was told in time, or ended.
    #[error("{name} {problem}; its last lines:\n{log}")]
    Process {
        /// Which.
        name: String,
        /// What it did or did not.
        problem: String,
        /// The end of what it printed.
        log: String,
    },
    /// A measurement is worth nothing, because packets were lost or harmed.
    #[error("{what} is no measurement: {problem}")]
    Invalid {
        /// Which measurement.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A results file is not one.
    #[error("{path} holds no results: {problem}; make some with: make bench")]
    Results {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl BenchError {
    /// 2 for what the user wrote wrong, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            BenchError::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// An error of the system while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |reason| BenchError::Io { what, reason }
    }

    /// A measurement that does not count.
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        BenchError::Invalid { what: what.into(), problem: problem.into() }
    }
}
