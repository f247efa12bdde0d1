//! `BATCH` commands, on the engine's batches. A batch's id on the wire holds the engine's.

use serde::Serialize;
use tickwheel_engine::{
    BatchInfo, CallError, Engine, Fired, JobId, NewBatch, NewJob, Refusal,
    worker::{Order, OrderReply},
};
use tickwheel_protocol::{BatchCommand, BatchNew, Callback, reply};

use super::{done, order};
use crate::front::{
    job::{self, Terms},
    names,
    shared::Shared,
};

pub(super) fn carry_out(
    engine: &Engine,
    shared: &Shared,
    command: &BatchCommand<'_>,
    out: &mut Vec<u8>,
) {
    match *command {
        BatchCommand::New(ref new) => match make(engine, shared, new) {
            Ok(bid) => reply::bulk(out, bid.as_bytes()),
            Err(error) => reply::error(out, "ERR", error),
        },
        BatchCommand::Open(bid) => match set(engine, bid, true) {
            Ok(()) => reply::bulk(out, bid.as_bytes()),
            Err(error) => reply::error(out, "ERR", error),
        },
        BatchCommand::Commit(bid) => done(out, set(engine, bid, false)),
        BatchCommand::Status(bid) => match look(engine, bid) {
            Ok(info) => reply::bulk_with(out, |out| {
                // Texts and numbers always become JSON, and memory takes all of it.
                let _ = serde_json::to_writer(out, &Status::of(bid, &info));
            }),
            Err(error) => reply::error(out, "ERR", error),
        },
    }
}

fn make(engine: &Engine, shared: &Shared, new: &BatchNew<'_>) -> Result<String, String> {
    let mut batch = NewBatch::new(short(&new.description));
    let mut parent = None;
    if let Some(bid) = new.parent_bid.as_deref().filter(|bid| !bid.is_empty()) {
        let id = find(bid)?;
        batch = batch.within(id);
        parent = Some(id);
    }
    if let Some(callback) = &new.complete {
        batch = batch.on_complete(job_of(shared, callback)?);
    }
    if let Some(callback) = &new.success {
        batch = batch.on_success(job_of(shared, callback)?);
    }
    let shard = engine.shard_of_batch(parent);
    match one(engine, shard, Order::NewBatch(Box::new(batch)))? {
        OrderReply::Batch(id) => Ok(names::bid_of(id)),
        other => Err(refused(other)),
    }
}

/// The description as far as the engine keeps it.
fn short(description: &str) -> String {
    let mut end = description.len().min(DESCRIPTION_BYTES_MAX);
    while !description.is_char_boundary(end) {
        end -= 1;
    }
    description[..end].to_owned()
}

/// Bytes of a description that the engine keeps.
const DESCRIPTION_BYTES_MAX: usize = 255;

/// A callback as the engine takes it. One without a jid is given one when it is fetched.
fn job_of(shared: &Shared, callback: &Callback<'_>) -> Result<NewJob, String> {
    let given = match callback {
        Callback::Job(job) => job,
        Callback::Template(template) => template.job(),
    };
    if let Some(why) = job::not_possible(given) {
        return Err(why.into_owned());
    }
    Ok(match callback {
        Callback::Job(job) => {
            let terms = Terms { now: job::now(), backoff: shared.backoff };
            let mut payload = Vec::new();
            let (new, _) = job::to_engine(job, terms, &mut payload);
            new.payload(payload)
        }
        Callback::Template(template) => {
            let payload = format!("{{\"job\":{}}}", template.job().raw);
            job::of_template(template, shared.backoff).payload(payload.into_bytes())
        }
    })
}

fn set(engine: &Engine, bid: &str, is_open: bool) -> Result<(), String> {
    let batch = find(bid)?;
    let shard = engine.shard_of_job(batch).ok_or_else(|| names::no_such_batch(bid))?;
    match one(engine, shard, Order::SetBatch { batch, is_open })? {
        OrderReply::Batch(_) => Ok(()),
        other => Err(refused(other)),
    }
}

fn look(engine: &Engine, bid: &str) -> Result<Box<BatchInfo>, String> {
    let batch = find(bid)?;
    let shard = engine.shard_of_job(batch).ok_or_else(|| names::no_such_batch(bid))?;
    match one(engine, shard, Order::LookBatch { batch })? {
        OrderReply::LookedBatch(Some(info)) => Ok(info),
        OrderReply::LookedBatch(None) => Err(names::no_such_batch(bid)),
        other => Err(refused(other)),
    }
}

fn one(engine: &Engine, shard: usize, one: Order) -> Result<OrderReply, String> {
    let replies = order(engine, shard, vec![one]).map_err(|error| error.to_string())?;
    replies.into_iter().next().ok_or_else(|| CallError::ShuttingDown.to_string())
}

fn refused(reply: OrderReply) -> String {
    match reply {
        OrderReply::Refused(Refusal::NoSuchBatch(id)) => names::no_such_batch(&names::bid_of(id)),
        OrderReply::Refused(refusal) => refusal.to_string(),
        _ => Refusal::Busy.to_string(),
    }
}

fn find(bid: &str) -> Result<JobId, String> {
    names::batch_of(bid).ok_or_else(|| names::no_such_batch(bid))
}

/// A batch as it is shown.
#[derive(Serialize)]
struct Status<'i> {
    bid: &'i str,
    parent_bid: String,
    description: &'i str,
    created_at: String,
    total: u32,
    pending: u32,
    failed: u32,
    complete_st: &'static str,
    success_st: &'static str,
}

impl<'i> Status<'i> {
    fn of(bid: &'i str, info: &'i BatchInfo) -> Self {
        Self {
            bid,
            parent_bid: info.parent.map(names::bid_of).unwrap_or_default(),
            description: &info.description,
            created_at: job::instant_text(info.created).unwrap_or_default(),
            total: info.total,
            pending: info.pending,
            failed: info.failed,
            complete_st: stage(info.complete),
            success_st: stage(info.last),
        }
    }
}

/// How far a callback is: not pushed, pushed, acknowledged.
fn stage(fired: Fired) -> &'static str {
    match fired {
        Fired::No => "",
        Fired::Added | Fired::Failed => "1",
        Fired::Succeeded => "2",
    }
}
