//! Commands of people and tools: changes to many jobs, to queues, and the state of one job.

use std::{borrow::Cow, str::SplitAsciiWhitespace};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RequestError, array_error, name, object, split, word};
use crate::{
    job::instant_text,
    json::{self, Count, Text, cut},
    limits::{self, Limits},
};

/// Names of queues as they stand in a line: at least one, at most 256, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Queues<'a> {
    pub(super) names: &'a str,
    pub(super) count: usize,
}

impl<'a> Queues<'a> {
    /// How many there are; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The names.
    #[must_use]
    pub fn iter(&self) -> SplitAsciiWhitespace<'a> {
        self.names.split_ascii_whitespace()
    }
}

impl<'a> IntoIterator for Queues<'a> {
    type Item = &'a str;
    type IntoIter = SplitAsciiWhitespace<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A change to the jobs of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation<'a> {
    /// What is done.
    pub verb: MutationVerb,
    /// The set.
    pub target: Target,
    /// Which of its jobs; those that fit each given part. [`MutationVerb::Clear`] takes all.
    pub filter: Filter<'a>,
}

/// What a `MUTATE` does with jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationVerb {
    /// All of the set are deleted, whatever the filter says.
    Clear,
    /// They go to the dead set.
    Kill,
    /// They are deleted.
    Discard,
    /// They go back to their queues at once.
    Requeue,
}

/// A set of jobs that are not in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Jobs that wait for another try.
    Retries,
    /// Jobs that wait for their time.
    Scheduled,
    /// Jobs that are not tried any more.
    Dead,
}

/// Which jobs a `MUTATE` is about; an empty filter is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Only these, if given.
    pub jids: Option<Vec<Cow<'a, str>>>,
    /// Only those of this type.
    pub jobtype: Option<Cow<'a, str>>,
    /// Only those whose JSON fits this pattern, in which `*` stands for any characters and `?` for one.
    /// The protocol calls it `regexp`.
    pub glob: Option<Cow<'a, str>>,
    /// Only those that have all of these tags. An extension.
    pub tags: Vec<Cow<'a, str>>,
}

pub(super) fn mutate<'a>(args: &'a str, limits: &Limits) -> Result<Mutation<'a>, RequestError> {
    const COMMAND: &str = "MUTATE";
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        cmd: Option<Text<'a>>,
        #[serde(borrow)]
        target: Option<Text<'a>>,
        #[serde(borrow)]
        filter: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct WireFilter<'a> {
        #[serde(borrow)]
        jids: Option<&'a RawValue>,
        #[serde(borrow)]
        jobtype: Option<Text<'a>>,
        #[serde(borrow)]
        regexp: Option<Text<'a>>,
        #[serde(borrow)]
        tags: Option<&'a RawValue>,
    }
    let invalid = |field, reason| Err(RequestError::Invalid { command: COMMAND, field, reason });
    let wire: Wire<'a> = object(COMMAND, args)?;
    let verb = match &*name(COMMAND, "cmd", wire.cmd.map(|Text(cmd)| cmd))? {
        "clear" => MutationVerb::Clear,
        "kill" => MutationVerb::Kill,
        "discard" => MutationVerb::Discard,
        "requeue" => MutationVerb::Requeue,
        _ => return invalid("cmd", "must be clear, kill, discard or requeue"),
    };
    let target = match &*name(COMMAND, "target", wire.target.map(|Text(target)| target))? {
        "retries" => Target::Retries,
        "scheduled" => Target::Scheduled,
        "dead" => Target::Dead,
        _ => return invalid("target", "must be retries, scheduled or dead"),
    };
    let mut filter = Filter::default();
    if let Some(raw) = wire.filter {
        let wire: WireFilter<'a> = object(COMMAND, raw.get())?;
        // No jobtype and no pattern are what encoders of fixed structs send as empty texts.
        let given = |text: Option<Text<'a>>| text.map(|Text(t)| t).filter(|t| !t.is_empty());
        filter.jobtype = given(wire.jobtype);
        filter.glob = given(wire.regexp);
        if let Some(raw) = wire.jids {
            let jids: Vec<Text<'a>> = json::array(raw.get(), limits.batch_items_max)
                .map_err(|error| array_error(COMMAND, "jids", limits.batch_items_max, error))?;
            filter.jids = Some(jids.into_iter().map(|Text(jid)| jid).collect());
        }
        if let Some(raw) = wire.tags {
            let tags: Vec<Text<'a>> = json::array(raw.get(), limits::TAGS_MAX)
                .map_err(|error| array_error(COMMAND, "tags", limits::TAGS_MAX, error))?;
            filter.tags = tags.into_iter().map(|Text(tag)| tag).collect();
        }
    }
    Ok(Mutation { verb, target, filter })
}

/// A `QUEUE` command.
#[derive(Clone, Copy, Debug)]
pub enum QueueCommand<'a> {
    /// Nothing is fetched from these; `None` is all queues.
    Pause(Option<Queues<'a>>),
    /// They are fetched from again; `None` is all queues.
    Resume(Option<Queues<'a>>),
    /// Their jobs are deleted and they are not listed any more; `None` is all queues.
    Remove(Option<Queues<'a>>),
    /// How long the oldest job of each has waited.
    Latency(Queues<'a>),
}

pub(super) fn queue(args: &str) -> Result<QueueCommand<'_>, RequestError> {
    let (verb, args) = split(args);
    let some_or_all = |command| match args {
        "*" => Ok(None),
        args => Queues::named(command, args).map(Some),
    };
    match verb {
        "PAUSE" => some_or_all("QUEUE PAUSE").map(QueueCommand::Pause),
        "RESUME" => some_or_all("QUEUE RESUME").map(QueueCommand::Resume),
        "REMOVE" => some_or_all("QUEUE REMOVE").map(QueueCommand::Remove),
        "LATENCY" => Queues::named("QUEUE LATENCY", args).map(QueueCommand::Latency),
        _ => Err(RequestError::Usage {
            command: "QUEUE",
            usage: "PAUSE, RESUME or REMOVE with queues or *, or LATENCY with queues",
        }),
    }
}

/// A `TRACK` command.
#[derive(Clone, Debug)]
pub enum TrackCommand<'a> {
    /// The state of this job.
    Get(&'a str),
    /// How far a worker has come with a job.
    Set(TrackSet<'a>),
}

/// How far a worker has come with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSet<'a> {
    /// The job: 1 to 255 bytes.
    pub jid: Cow<'a, str>,
    /// How much is done: 0 to 100.
    pub percent: Option<u8>,
    /// What is being done: at most 1000 characters are kept.
    pub desc: Option<Cow<'a, str>>,
    /// A new end of the lease.
    pub reserve_until: Option<Timestamp>,
}

pub(super) fn track(args: &str) -> Result<TrackCommand<'_>, RequestError> {
    let (verb, args) = split(args);
    match verb {
        "GET" => word("TRACK GET", "jid", args).map(TrackCommand::Get),
        "SET" => track_set(args).map(TrackCommand::Set),
        _ => Err(RequestError::Usage {
            command: "TRACK",
            usage: "GET with a jid, or SET with a JSON object",
        }),
    }
}

fn track_set(args: &str) -> Result<TrackSet<'_>, RequestError> {
    const COMMAND: &str = "TRACK SET";
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        jid: Option<Text<'a>>,
        percent: Option<Count>,
        #[serde(borrow)]
        desc: Option<Text<'a>>,
        #[serde(borrow)]
        reserve_until: Option<Text<'a>>,
    }
    let wire: Wire<'_> = object(COMMAND, args)?;
    let percent = match wire.percent {
        Some(Count(percent @ 0..=100)) => Some(percent as u8),
        None => None,
        Some(_) => {
            let reason = "must be 0 to 100";
            return Err(RequestError::Invalid { command: COMMAND, field: "percent", reason });
        }
    };
    let until = wire.reserve_until.map_or(Ok(None), |Text(text)| instant_text(&text));
    let reserve_until = until.map_err(|()| RequestError::Invalid {
        command: COMMAND,
        field: "reserve_until",
        reason: "must be an instant by RFC 3339, such as 2026-03-01T12:00:00.5Z",
    })?;
    Ok(TrackSet {
        jid: name(COMMAND, "jid", wire.jid.map(|Text(jid)| jid))?,
        percent,
        desc: wire.desc.map(|Text(desc)| cut(desc, limits::MESSAGE_CHARS_MAX)),
        reserve_until,
    })
}
