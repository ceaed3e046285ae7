//! `voxload sessions`: a sessions file with fresh keys.

use std::io::{BufWriter, Write};

use voxlane::control::config::{
    EndpointPlan, PayloadTypes, SessionPlan, generate_sessions, system_random, write_jsonl,
    write_sessions_file,
};

use super::cli::SessionsArgs;
use super::run::RunError;

/// Writes the sessions that `args` ask for.
///
/// # Errors
/// [`RunError::Usage`] when the addresses do not suffice, [`RunError::Output`] when writing fails.
pub fn write(args: &SessionsArgs) -> Result<(), RunError> {
    let plan = SessionPlan {
        count: args.count,
        id_prefix: args.id_prefix.clone(),
        a: EndpointPlan {
            port: 0,
            local: args.a_local.clone(),
            remote: args.a_remote.clone(),
            suite: args.suite.0,
        },
        b: EndpointPlan {
            port: 1,
            local: args.b_local.clone(),
            remote: args.b_remote.clone(),
            suite: args.suite.0,
        },
        payload_types: PayloadTypes::ALL_BUT_RTCP,
    };
    let sessions =
        generate_sessions(plan, system_random).map_err(|error| RunError::Usage(error.to_string()))?;
    let output = |name: String| move |error| RunError::Output { name, error };
    if let Some(path) = &args.output {
        write_sessions_file(path, sessions).map_err(output(path.display().to_string()))?;
        return Ok(());
    }
    let mut writer = BufWriter::new(std::io::stdout().lock());
    for session in sessions {
        write_jsonl(&session, &mut writer).map_err(output("standard output".to_owned()))?;
    }
    writer.flush().map_err(output("standard output".to_owned()))
}
