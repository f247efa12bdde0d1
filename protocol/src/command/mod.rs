//! Requests: one line, one typed command. It must not know sockets, replies, or what a server does
//! with a command.

mod batch;
mod cron;
mod line;
mod manage;
mod work;
mod worker;

use std::{borrow::Cow, str};

use serde::Deserialize;

pub use batch::{BatchCommand, BatchNew, Callback};
pub use cron::{CronCommand, CronPut, Missed, Overlap, Timing};
pub use line::{Decoded, RequestDecoder};
pub use manage::{
    Filter, Mutation, MutationVerb, QueueCommand, Queues, Target, TrackCommand, TrackSet,
};
pub use work::{
    Beat, Extend, FailReport, FetchBatch, PushBatch, RefusedJob, RefusedReport, ReportBatch,
};
pub use worker::WorkerCommand;

use crate::{
    handshake::Hello,
    job::{Job, JobError},
    json::ArrayError,
    limits::{self, Limits},
};

/// One request of a client. It borrows from the line that it came in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `HELLO`: the client's half of the handshake.
    Hello(Hello<'a>),
    /// `PUSH`: a new job.
    Push(Job<'a>),
    /// `PUSHB`: many new jobs.
    PushBatch(PushBatch<'a>),
    /// `FETCH`: one job of these queues, strictly in their order.
    Fetch(Queues<'a>),
    /// `FETCHB`: several jobs at once.
    FetchBatch(FetchBatch<'a>),
    /// `ACK`: a job has succeeded. Its jid may be one that was never given out.
    Ack(Cow<'a, str>),
    /// `ACKB`: these jobs have succeeded.
    AckBatch(Vec<Cow<'a, str>>),
    /// `FAIL`: a job has failed.
    Fail(FailReport<'a>),
    /// `FAILB`: these jobs have failed.
    FailBatch(ReportBatch<'a>),
    /// `EXTEND`: a later end of a job's lease.
    Extend(Extend<'a>),
    /// `CANCEL`: a job is not wanted any more.
    Cancel(Cow<'a, str>),
    /// `BEAT`: a worker lives.
    Beat(Beat<'a>),
    /// `INFO`: the state of the server.
    Info,
    /// `FLUSH`: clears everything.
    Flush,
    /// `END`: the connection ends.
    End,
    /// `MUTATE`: a change to many waiting jobs.
    Mutate(Mutation<'a>),
    /// `QUEUE …`: queues as a whole.
    Queue(QueueCommand<'a>),
    /// `TRACK …`: the state of one job.
    Track(TrackCommand<'a>),
    /// `BATCH …`: jobs that belong together.
    Batch(BatchCommand<'a>),
    /// `CRON …`: schedules.
    Cron(CronCommand<'a>),
    /// `WORKER …`: who is connected.
    Worker(WorkerCommand<'a>),
}

/// Why a request was not understood.
///
/// Its text is for the client: a server sends it as `-ERR` with [`reply::error`](crate::reply::error).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The line has no end within its bound. The stream is out of step.
    #[error("the request is longer than {max_bytes} bytes; split the batch or the job")]
    LineTooLong {
        /// The bound.
        max_bytes: usize,
    },
    /// The line is no UTF-8.
    #[error("the request is not valid UTF-8")]
    NotUtf8,
    /// The verb is not known. Verbs are in capital letters.
    #[error("unknown command {verb}")]
    UnknownCommand {
        /// Its first characters.
        verb: Box<str>,
    },
    /// The arguments have the wrong shape.
    #[error("{command} takes {usage}")]
    Usage {
        /// The verb.
        command: &'static str,
        /// What it takes.
        usage: &'static str,
    },
    /// The JSON of a command other than a push is not right.
    #[error("{command}: the JSON is not right: {source}")]
    Json {
        /// The verb.
        command: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field is missing or null.
    #[error("{command} needs `{field}`")]
    Missing {
        /// The verb.
        command: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// A field has a value that is not allowed.
    #[error("{command}: `{field}` {reason}")]
    Invalid {
        /// The verb.
        command: &'static str,
        /// Name of the field.
        field: &'static str,
        /// What is needed, as the rest of a sentence.
        reason: &'static str,
    },
    /// An array or a list of names is longer than allowed.
    #[error("{command} takes at most {max} {what} at once; split them")]
    TooMany {
        /// The verb.
        command: &'static str,
        /// What there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A job is not right.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl RequestError {
    /// Whether the stream is out of step: the server replies and closes. After any other error it
    /// replies and goes on with the next line.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::LineTooLong { .. })
    }
}

impl<'a> Command<'a> {
    /// Reads a line without its end. The length of the line is the caller's to bound, as
    /// [`RequestDecoder`] does; the bounds on jobs and batches are checked here.
    ///
    /// # Errors
    /// What is wrong with the line; [`RequestError::is_fatal`] is false.
    pub fn parse(line: &'a [u8], limits: &Limits) -> Result<Self, RequestError> {
        let line = str::from_utf8(line).map_err(|_| RequestError::NotUtf8)?;
        let (verb, args) = split(line);
        match verb {
            "PUSH" => Ok(Self::Push(Job::parse(args, limits.job_bytes_max)?)),
            "PUSHB" => work::push_batch(args, limits).map(Self::PushBatch),
            "FETCH" => Queues::named("FETCH", args).map(Self::Fetch),
            "FETCHB" => work::fetch_batch(args, limits).map(Self::FetchBatch),
            "ACK" => work::jid("ACK", args).map(Self::Ack),
            "ACKB" => work::ack_batch(args, limits).map(Self::AckBatch),
            "FAIL" => FailReport::parse("FAIL", args).map(Self::Fail),
            "FAILB" => work::fail_batch(args, limits).map(Self::FailBatch),
            "EXTEND" => work::extend(args).map(Self::Extend),
            "CANCEL" => work::jid("CANCEL", args).map(Self::Cancel),
            "BEAT" => work::beat(args).map(Self::Beat),
            "INFO" => nothing("INFO", args).map(|()| Self::Info),
            "FLUSH" => nothing("FLUSH", args).map(|()| Self::Flush),
            "END" => nothing("END", args).map(|()| Self::End),
            "HELLO" => Hello::parse(args).map(Self::Hello),
            "MUTATE" => manage::mutate(args, limits).map(Self::Mutate),
            "QUEUE" => manage::queue(args).map(Self::Queue),
            "TRACK" => manage::track(args).map(Self::Track),
            "BATCH" => batch::batch(args, limits).map(Self::Batch),
            "CRON" => cron::cron(args, limits).map(Self::Cron),
            "WORKER" => worker::worker(args).map(Self::Worker),
            unknown => {
                Err(RequestError::UnknownCommand { verb: unknown.chars().take(32).collect() })
            }
        }
    }
}

/// The first word of `text`, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim_matches([' ', '\t']);
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

fn nothing(command: &'static str, args: &str) -> Result<(), RequestError> {
    if args.is_empty() {
        return Ok(());
    }
    Err(RequestError::Usage { command, usage: "no arguments" })
}

/// Reads the one JSON object that a command takes.
pub(crate) fn object<'a, T: Deserialize<'a>>(
    command: &'static str,
    args: &'a str,
) -> Result<T, RequestError> {
    // A derived reader takes an array for a struct as well, by the order of its fields.
    if !args.starts_with('{') {
        return Err(RequestError::Usage { command, usage: "one JSON object" });
    }
    serde_json::from_str(args).map_err(|source| RequestError::Json { command, source })
}

/// Checks a name that is required: 1 to 255 bytes.
pub(crate) fn name<T: AsRef<str>>(
    command: &'static str,
    field: &'static str,
    name: Option<T>,
) -> Result<T, RequestError> {
    match name {
        None => Err(RequestError::Missing { command, field }),
        Some(name) if (1..=limits::NAME_BYTES_MAX).contains(&name.as_ref().len()) => Ok(name),
        Some(_) => {
            Err(RequestError::Invalid { command, field, reason: "must have 1 to 255 bytes" })
        }
    }
}

/// Reads the one word that a command takes.
fn word<'a>(
    command: &'static str,
    field: &'static str,
    args: &'a str,
) -> Result<&'a str, RequestError> {
    let mut words = args.split_ascii_whitespace();
    let word = name(command, field, words.next())?;
    if words.next().is_some() {
        return Err(RequestError::Usage { command, usage: "one name and nothing behind it" });
    }
    Ok(word)
}

/// Says why an array of `command` was not read.
fn array_error(
    command: &'static str,
    what: &'static str,
    max: usize,
    error: ArrayError,
) -> RequestError {
    match error {
        ArrayError::TooMany => RequestError::TooMany { command, what, max },
        ArrayError::Json(source) => RequestError::Json { command, source },
    }
}

#[cfg(test)]
mod tests;
