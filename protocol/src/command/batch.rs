//! `BATCH` commands: jobs that belong together, and what is pushed when they are done.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RequestError, name, object, split, word};
use crate::{
    job::{Job, JobError, Template},
    json::{Text, cut},
    limits::{self, Limits},
};

/// A `BATCH` command. The others than `NEW` name the batch by its id.
#[derive(Clone, Debug)]
pub enum BatchCommand<'a> {
    /// A new batch, open for jobs.
    New(Box<BatchNew<'a>>),
    /// It is opened again, by one of its own jobs.
    Open(&'a str),
    /// It is closed: its callbacks may be pushed.
    Commit(&'a str),
    /// How far it has come.
    Status(&'a str),
}

/// A new batch.
#[derive(Clone, Debug)]
pub struct BatchNew<'a> {
    /// What it is for: at most 1000 characters are kept.
    pub description: Cow<'a, str>,
    /// Pushed when all its jobs have succeeded.
    pub success: Option<Callback<'a>>,
    /// Pushed when all its jobs have run at least once.
    pub complete: Option<Callback<'a>>,
    /// The batch that it belongs to.
    pub parent_bid: Option<Cow<'a, str>>,
}

/// A job that a batch adds. Some clients leave its jid to the server.
#[derive(Clone, Debug)]
pub enum Callback<'a> {
    /// With a jid.
    Job(Box<Job<'a>>),
    /// Without one.
    Template(Box<Template<'a>>),
}

fn callback<'a>(raw: &'a str, limits: &Limits) -> Result<Callback<'a>, JobError> {
    match Job::parse(raw, limits.job_bytes_max) {
        Err(JobError::Missing("jid")) => Template::parse(raw, limits.job_bytes_max)
            .map(|template| Callback::Template(Box::new(template))),
        job => job.map(|job| Callback::Job(Box::new(job))),
    }
}

pub(super) fn batch<'a>(args: &'a str, limits: &Limits) -> Result<BatchCommand<'a>, RequestError> {
    let (verb, args) = split(args);
    match verb {
        "NEW" => new(args, limits).map(|new| BatchCommand::New(Box::new(new))),
        "OPEN" => word("BATCH OPEN", "bid", args).map(BatchCommand::Open),
        "COMMIT" => word("BATCH COMMIT", "bid", args).map(BatchCommand::Commit),
        "STATUS" => word("BATCH STATUS", "bid", args).map(BatchCommand::Status),
        _ => Err(RequestError::Usage {
            command: "BATCH",
            usage: "NEW with a JSON object, or OPEN, COMMIT or STATUS with a bid",
        }),
    }
}

fn new<'a>(args: &'a str, limits: &Limits) -> Result<BatchNew<'a>, RequestError> {
    const COMMAND: &str = "BATCH NEW";
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        description: Option<Text<'a>>,
        #[serde(borrow)]
        success: Option<&'a RawValue>,
        #[serde(borrow)]
        complete: Option<&'a RawValue>,
        #[serde(borrow)]
        parent_bid: Option<Text<'a>>,
    }
    let wire: Wire<'a> = object(COMMAND, args)?;
    let given = |raw: Option<&'a RawValue>| raw.map(|raw| callback(raw.get(), limits));
    let description = wire.description.map_or(Cow::Borrowed(""), |Text(text)| text);
    let parent_bid = wire.parent_bid.map(|Text(bid)| bid).filter(|bid| !bid.is_empty());
    let (success, complete) = (given(wire.success).transpose()?, given(wire.complete).transpose()?);
    if success.is_none() && complete.is_none() {
        return Err(RequestError::Missing { command: COMMAND, field: "success` or `complete" });
    }
    Ok(BatchNew {
        description: cut(description, limits::MESSAGE_CHARS_MAX),
        success,
        complete,
        parent_bid: parent_bid.map(|bid| name(COMMAND, "parent_bid", Some(bid))).transpose()?,
    })
}
