//! What to run: one command with everything it needs, and its form as a job's payload.
//!
//! The payload is written to the log, so a job that is recovered after a restart still knows
//! what to run, whatever the configuration says by then. It must stay readable by later versions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Version of the payload's form. It rises when an older reader would run the wrong thing.
const PAYLOAD_VERSION: u32 = 1;

/// One command, ready to run. Checked by whoever made it; the ranges are in
/// [`limits`](crate::config::limits).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the schedule or job, for the log.
    pub name: String,
    /// What is executed.
    pub program: Program,
    /// Working directory; `None` is the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Whether a missing `dir` is no failure: the command then runs in `/`.
    #[serde(default)]
    pub dir_optional: bool,
    /// Whether the server's environment is passed on; `env` is added to it or stands alone.
    pub inherit_env: bool,
    /// Environment variables of this command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Text on its standard input; `None` is `/dev/null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// User to become; `None` is the server's own. Needs root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
    /// Longest run, in milliseconds; after it the process group is asked to end.
    pub timeout_ms: u64,
    /// Time between asking (SIGTERM) and forcing (SIGKILL), in milliseconds.
    pub kill_grace_ms: u64,
    /// How many of the last bytes of output are kept.
    pub output_limit_bytes: u64,
    /// When the kept output is logged.
    #[serde(default)]
    pub log_output: LogOutput,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A program, looked up in `PATH` unless it holds a slash, and its arguments. Never empty.
    Argv(Vec<String>),
    /// One line given to a shell.
    Shell {
        /// Path of the shell; called as `SHELL -c LINE`.
        shell: String,
        /// The line.
        line: String,
    },
}

/// The user that a command runs as. Supplementary groups are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunAs {
    /// Name, for messages only.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// When the kept output of a run is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogOutput {
    /// Only when the run failed.
    #[default]
    OnFailure,
    /// After every run that wrote something.
    Always,
}

/// Why a payload is not a command that this version can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Not written by this server.
    #[error(
        "the job's payload is not a command: {0}; was the data directory used by another program?"
    )]
    Malformed(serde_json::Error),
    /// Written by a later version; upgrade before running it.
    #[error(
        "the job's command has form {found}, this version reads up to {PAYLOAD_VERSION}; upgrade tickwheel"
    )]
    NewerVersion {
        /// The version in the payload.
        found: u32,
    },
}

#[derive(Serialize)]
struct EnvelopeOut<'a> {
    v: u32,
    command: &'a Spec,
}

#[derive(Deserialize)]
struct Envelope {
    command: Spec,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Spec {
    /// Longest run.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Time between SIGTERM and SIGKILL.
    pub fn kill_grace(&self) -> Duration {
        Duration::from_millis(self.kill_grace_ms)
    }

    /// The form that is kept with the job.
    pub fn to_payload(&self) -> Vec<u8> {
        let envelope = EnvelopeOut { v: PAYLOAD_VERSION, command: self };
        serde_json::to_vec(&envelope)
            .expect("strings, integers and string-keyed maps always encode")
    }

    /// Reads what [`Spec::to_payload`] wrote, in this version or an earlier one.
    ///
    /// # Errors
    /// [`PayloadError::NewerVersion`] if a later version wrote it, [`PayloadError::Malformed`]
    /// for anything else.
    pub fn from_payload(payload: &[u8]) -> Result<Self, PayloadError> {
        // The version is read alone first: a later form may not fit the fields known here.
        let Version { v } = serde_json::from_slice(payload).map_err(PayloadError::Malformed)?;
        if v > PAYLOAD_VERSION {
            return Err(PayloadError::NewerVersion { found: v });
        }
        let envelope: Envelope =
            serde_json::from_slice(payload).map_err(PayloadError::Malformed)?;
        Ok(envelope.command)
    }
}
