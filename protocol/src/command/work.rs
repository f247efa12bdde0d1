//! Commands of producers and workers: pushes, fetches, and what became of jobs.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Queues, RequestError, array_error, name, object};
use crate::{
    job::{Job, JobError, check_queue},
    json::{self, Count, Lines, Text, cut},
    limits::{self, Limits},
};

/// The jobs of a `PUSHB`, in their order.
#[derive(Debug)]
pub struct PushBatch<'a> {
    /// Those that can be taken and those that cannot.
    pub jobs: Vec<Result<Job<'a>, RefusedJob<'a>>>,
}

/// A job of a batch that is not right; the others of the batch stand.
#[derive(Debug)]
pub struct RefusedJob<'a> {
    /// Its jid; empty if there is none to be read.
    pub jid: Cow<'a, str>,
    /// Why.
    pub error: JobError,
}

pub(super) fn push_batch<'a>(
    args: &'a str,
    limits: &Limits,
) -> Result<PushBatch<'a>, RequestError> {
    let raws: Vec<&RawValue> = json::array(args, limits.batch_items_max)
        .map_err(|error| array_error("PUSHB", "jobs", limits.batch_items_max, error))?;
    let job = |raw: &'a RawValue| {
        Job::parse(raw.get(), limits.job_bytes_max)
            .map_err(|error| RefusedJob { jid: Job::jid_of(raw.get()).unwrap_or_default(), error })
    };
    Ok(PushBatch { jobs: raws.into_iter().map(job).collect() })
}

/// What a `FETCHB` asks for.
#[derive(Clone, Debug)]
pub struct FetchBatch<'a> {
    /// Most jobs to hand out: at least 1, at most [`Limits::batch_items_max`].
    pub count_max: usize,
    /// How long to wait for the first one: at most 60,000 ms. Default 2000.
    pub wait_ms: u32,
    /// The queues, strictly in their order: at least one.
    pub queues: Vec<Cow<'a, str>>,
}

pub(super) fn fetch_batch<'a>(
    args: &'a str,
    limits: &Limits,
) -> Result<FetchBatch<'a>, RequestError> {
    const COMMAND: &str = "FETCHB";
    #[derive(Deserialize)]
    struct Wire<'a> {
        n: Option<u64>,
        wait_ms: Option<u64>,
        #[serde(borrow)]
        queues: Option<&'a RawValue>,
    }
    let wire: Wire<'a> = object(COMMAND, args)?;
    let count_max = wire.n.ok_or(RequestError::Missing { command: COMMAND, field: "n" })?;
    if count_max == 0 || count_max > limits.batch_items_max as u64 {
        let reason = "must be at least 1 and at most the server's limit of jobs at once";
        return Err(RequestError::Invalid { command: COMMAND, field: "n", reason });
    }
    let wait_ms = wire.wait_ms.unwrap_or(limits::WAIT_MS_DEFAULT.into());
    if wait_ms > limits::WAIT_MS_MAX.into() {
        let reason = "must be at most 60000";
        return Err(RequestError::Invalid { command: COMMAND, field: "wait_ms", reason });
    }
    let missing = RequestError::Missing { command: COMMAND, field: "queues" };
    let Some(queues) = wire.queues else {
        return Err(missing);
    };
    let queues: Vec<Text<'a>> = json::array(queues.get(), limits::QUEUES_MAX)
        .map_err(|error| array_error(COMMAND, "queues", limits::QUEUES_MAX, error))?;
    if queues.is_empty() {
        return Err(missing);
    }
    let queues: Vec<_> = queues.into_iter().map(|Text(queue)| queue).collect();
    for queue in &queues {
        check_queue(queue).map_err(|reason| RequestError::Invalid {
            command: COMMAND,
            field: "queues",
            reason,
        })?;
    }
    Ok(FetchBatch { count_max: count_max as usize, wait_ms: wait_ms as u32, queues })
}

/// The jid of a command that takes an object with nothing else.
pub(super) fn jid<'a>(command: &'static str, args: &'a str) -> Result<Cow<'a, str>, RequestError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        jid: Option<Text<'a>>,
    }
    let wire: Wire<'a> = object(command, args)?;
    name(command, "jid", wire.jid.map(|Text(jid)| jid))
}

pub(super) fn ack_batch<'a>(
    args: &'a str,
    limits: &Limits,
) -> Result<Vec<Cow<'a, str>>, RequestError> {
    let jids: Vec<Text<'a>> = json::array(args, limits.batch_items_max)
        .map_err(|error| array_error("ACKB", "jids", limits.batch_items_max, error))?;
    jids.into_iter().map(|Text(jid)| name("ACKB", "jid", Some(jid))).collect()
}

/// What a worker says about a failure, cut to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailReport<'a> {
    /// The job: 1 to 255 bytes.
    pub jid: Cow<'a, str>,
    /// The type of the error: at most 100 characters.
    pub errtype: Cow<'a, str>,
    /// What happened: at most 1000 characters.
    pub message: Cow<'a, str>,
    /// Where: at most 50 lines of at most 1000 characters.
    pub backtrace: Vec<Cow<'a, str>>,
}

impl<'a> FailReport<'a> {
    pub(super) fn parse(command: &'static str, args: &'a str) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            jid: Option<Text<'a>>,
            #[serde(borrow)]
            errtype: Option<Text<'a>>,
            #[serde(borrow)]
            message: Option<Text<'a>>,
            #[serde(borrow)]
            backtrace: Option<Lines<'a>>,
        }
        let wire: Wire<'a> = object(command, args)?;
        let text = |text: Option<Text<'a>>, chars_max| {
            text.map_or(Cow::Borrowed(""), |Text(text)| cut(text, chars_max))
        };
        Ok(Self {
            jid: name(command, "jid", wire.jid.map(|Text(jid)| jid))?,
            errtype: text(wire.errtype, limits::ERRTYPE_CHARS_MAX),
            message: text(wire.message, limits::MESSAGE_CHARS_MAX),
            backtrace: wire.backtrace.unwrap_or_default().0,
        })
    }
}

/// The reports of a `FAILB`, in their order.
#[derive(Debug)]
pub struct ReportBatch<'a> {
    /// Those that can be taken and those that cannot.
    pub reports: Vec<Result<FailReport<'a>, RefusedReport<'a>>>,
}

/// A report of a batch that is not right; the others of the batch stand.
#[derive(Debug)]
pub struct RefusedReport<'a> {
    /// Its jid; empty if there is none to be read.
    pub jid: Cow<'a, str>,
    /// Why.
    pub error: RequestError,
}

pub(super) fn fail_batch<'a>(
    args: &'a str,
    limits: &Limits,
) -> Result<ReportBatch<'a>, RequestError> {
    let raws: Vec<&RawValue> = json::array(args, limits.batch_items_max)
        .map_err(|error| array_error("FAILB", "reports", limits.batch_items_max, error))?;
    let report = |raw: &'a RawValue| {
        FailReport::parse("FAILB", raw.get()).map_err(|error| RefusedReport {
            jid: Job::jid_of(raw.get()).unwrap_or_default(),
            error,
        })
    };
    Ok(ReportBatch { reports: raws.into_iter().map(report).collect() })
}

/// What an `EXTEND` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend<'a> {
    /// The job: 1 to 255 bytes.
    pub jid: Cow<'a, str>,
    /// The lease ends so long after the command: 1 to 86,400 seconds.
    pub seconds: u32,
}

pub(super) fn extend(args: &str) -> Result<Extend<'_>, RequestError> {
    const COMMAND: &str = "EXTEND";
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        jid: Option<Text<'a>>,
        seconds: Option<Count>,
    }
    let wire: Wire<'_> = object(COMMAND, args)?;
    let jid = name(COMMAND, "jid", wire.jid.map(|Text(jid)| jid))?;
    let missing = RequestError::Missing { command: COMMAND, field: "seconds" };
    let Count(seconds) = wire.seconds.ok_or(missing)?;
    if !(1..=u64::from(limits::RESERVE_SECONDS_MAX)).contains(&seconds) {
        let reason = "must be 1 to 86400";
        return Err(RequestError::Invalid { command: COMMAND, field: "seconds", reason });
    }
    Ok(Extend { jid, seconds: seconds as u32 })
}

/// A sign of life of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat<'a> {
    /// The worker: 1 to 255 bytes.
    pub wid: Cow<'a, str>,
    /// What it says it is doing: empty, `quiet` or `terminate`; at most 100 characters are kept.
    pub current_state: Cow<'a, str>,
    /// Its resident memory in KiB; 0 if it does not say.
    pub rss_kb: u64,
}

pub(super) fn beat(args: &str) -> Result<Beat<'_>, RequestError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        wid: Option<Text<'a>>,
        #[serde(borrow)]
        current_state: Option<Text<'a>>,
        rss_kb: Option<Count>,
    }
    let wire: Wire<'_> = object("BEAT", args)?;
    let state = wire.current_state.map_or(Cow::Borrowed(""), |Text(state)| state);
    Ok(Beat {
        wid: name("BEAT", "wid", wire.wid.map(|Text(wid)| wid))?,
        current_state: cut(state, limits::ERRTYPE_CHARS_MAX),
        rss_kb: wire.rss_kb.map_or(0, |Count(rss_kb)| rss_kb),
    })
}

impl<'a> Queues<'a> {
    /// The queues that `command` names, at least one, each with a name that a queue can have.
    pub(super) fn named(command: &'static str, args: &'a str) -> Result<Self, RequestError> {
        let mut count = 0;
        for queue in args.split_ascii_whitespace() {
            count += 1;
            if count > limits::QUEUES_MAX {
                let max = limits::QUEUES_MAX;
                return Err(RequestError::TooMany { command, what: "queues", max });
            }
            check_queue(queue).map_err(|reason| RequestError::Invalid {
                command,
                field: "queue",
                reason,
            })?;
        }
        if count == 0 {
            return Err(RequestError::Usage { command, usage: "the name of at least one queue" });
        }
        Ok(Self { names: args, count })
    }
}
