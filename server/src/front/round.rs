//! A round: what one read of a connection asked of the engine, as one list of orders per shard, and
//! the replies in the order of the requests. It must not know sockets.

use std::{collections::BTreeMap, ops::Range, time::Duration, vec};

use jiff::Timestamp;
use tickwheel_engine::{
    Bytes, CallError, Engine, JobState, NewJob, Refusal,
    worker::{Handle, Order, OrderReply},
};
use tickwheel_protocol::{Job, JobError, PushBatch, TrackSet, reply};

use super::{
    job::{self, Terms},
    names,
    tracks::{End, Track, Tracks},
};

/// What a client is told whose job is not unique.
const NOT_UNIQUE: &str = "Job not unique";

/// `reserve_until` of `TRACK SET` reaches so far at the most, as `EXTEND` does.
const RESERVE_MAX: Duration =
    Duration::from_secs(tickwheel_protocol::limits::RESERVE_SECONDS_MAX as u64);

/// Requests that are gathered.
#[derive(Debug, Default)]
pub(super) struct Round {
    items: Vec<Item>,
    plans: Vec<(usize, Plan)>,
    /// JSON of the jobs to add, one behind the other: their payloads share one allocation.
    payloads: Vec<u8>,
    /// Replies that need no engine, one behind the other.
    texts: Vec<u8>,
}

/// A round that was given to the engine.
#[derive(Debug)]
pub(super) struct Waiting {
    items: Vec<Item>,
    payloads: Bytes,
    texts: Vec<u8>,
    /// By shard, once it has answered.
    answers: Vec<Option<Result<vec::IntoIter<OrderReply>, CallError>>>,
    /// Shards that have not answered.
    missing: usize,
}

#[derive(Debug)]
enum Plan {
    Add(NewJob, Range<usize>),
    Order(Order),
}

/// One request: how the answers of shards become its reply.
#[derive(Debug)]
enum Item {
    /// The next so many bytes of the texts.
    Text(usize),
    Push(usize),
    PushBatch {
        jobs: Vec<(usize, Range<usize>)>,
        refused: BTreeMap<String, String>,
    },
    /// With its jid if the job is tracked.
    Ack(usize, Option<Box<str>>),
    /// The shards, and the places of those that are tracked.
    AckBatch(Vec<usize>, Vec<(usize, Box<str>)>),
    /// `EXTEND` or `CANCEL`.
    Change(usize, Box<str>),
    Track(usize, Box<str>),
    Progress(usize, Box<Progress>),
}

/// What a worker says of a job that it has.
#[derive(Debug)]
struct Progress {
    jid: Box<str>,
    percent: Option<u8>,
    desc: Option<Box<str>>,
}

impl Round {
    /// Whether all that it asks of the engine is to end attempts.
    pub(super) fn only_ends(&self) -> bool {
        self.plans.iter().all(|(_, plan)| matches!(plan, Plan::Order(Order::Finish { .. })))
    }

    /// Whether nothing was asked.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// A request that is answered without the engine.
    pub(super) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.texts.len();
        write(&mut self.texts);
        let len = self.texts.len() - begin;
        // Replies that follow each other are one.
        match self.items.last_mut() {
            Some(Item::Text(last)) => *last += len,
            _ => self.items.push(Item::Text(len)),
        }
    }

    /// A request that is refused.
    pub(super) fn refuse(&mut self, why: impl std::fmt::Display) {
        self.text(|out| reply::error(out, "ERR", why));
    }

    pub(super) fn push(&mut self, engine: &Engine, job: &Job<'_>, terms: Terms) {
        match job::not_possible(job) {
            Some(why) => self.refuse(why),
            None => {
                let (shard, _) = self.add(engine, job, terms);
                self.items.push(Item::Push(shard));
            }
        }
    }

    pub(super) fn push_batch(&mut self, engine: &Engine, batch: &PushBatch<'_>, terms: Terms) {
        let mut refused = BTreeMap::new();
        let mut jobs = Vec::with_capacity(batch.jobs.len());
        for job in &batch.jobs {
            match job {
                Ok(job) => match job::not_possible(job) {
                    Some(why) => drop(refused.insert(job.jid.to_string(), why.into_owned())),
                    None => jobs.push(self.add(engine, job, terms)),
                },
                Err(bad) => drop(refused.insert(bad.jid.to_string(), error_text(&bad.error))),
            }
        }
        self.items.push(Item::PushBatch { jobs, refused });
    }

    fn add(&mut self, engine: &Engine, job: &Job<'_>, terms: Terms) -> (usize, Range<usize>) {
        // A jid of the server's own form was refused.
        let (shard, _) = names::find(engine, &job.jid);
        let (new, range) = job::to_engine(job, terms, &mut self.payloads);
        self.plans.push((shard, Plan::Add(new, range.clone())));
        (shard, range)
    }

    pub(super) fn ack(&mut self, engine: &Engine, tracks: &Tracks, jid: &str) {
        let shard = self.order(engine, jid, succeeded);
        self.items.push(Item::Ack(shard, tracks.has(jid).then(|| jid.into())));
    }

    pub(super) fn ack_batch(&mut self, engine: &Engine, tracks: &Tracks, jids: &[impl AsRef<str>]) {
        let shards = jids.iter().map(|jid| self.order(engine, jid.as_ref(), succeeded)).collect();
        let tracked = jids.iter().map(AsRef::as_ref).enumerate().filter(|(_, jid)| tracks.has(jid));
        let tracked = tracked.map(|(place, jid)| (place, jid.into())).collect();
        self.items.push(Item::AckBatch(shards, tracked));
    }

    /// `EXTEND`, `CANCEL`: an order about one job, which has to be there.
    pub(super) fn change(
        &mut self,
        engine: &Engine,
        jid: &str,
        order: impl FnOnce(Handle) -> Order,
    ) {
        let shard = self.order(engine, jid, order);
        self.items.push(Item::Change(shard, jid.into()));
    }

    /// `TRACK GET`.
    pub(super) fn track(&mut self, engine: &Engine, jid: &str) {
        let shard = self.order(engine, jid, |job| Order::Look { job });
        self.items.push(Item::Track(shard, jid.into()));
    }

    /// `TRACK SET`.
    pub(super) fn progress(&mut self, engine: &Engine, set: &TrackSet<'_>, now: Timestamp) {
        let shard = self.order(engine, &set.jid, |job| match set.reserve_until {
            Some(until) => {
                let span = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                Order::Extend { job, span: span.min(RESERVE_MAX) }
            }
            None => Order::Look { job },
        });
        let progress = Progress {
            jid: (&*set.jid).into(),
            percent: set.percent,
            desc: set.desc.as_deref().map(Box::from),
        };
        self.items.push(Item::Progress(shard, Box::new(progress)));
    }

    fn order(&mut self, engine: &Engine, jid: &str, order: impl FnOnce(Handle) -> Order) -> usize {
        let (shard, job) = names::find(engine, jid);
        self.plans.push((shard, Plan::Order(order(job))));
        shard
    }

    /// The orders by shard, and what waits for their answers.
    pub(super) fn divide(self, shards: usize) -> (Vec<(usize, Vec<Order>)>, Waiting) {
        let payloads = Bytes::from(self.payloads);
        let mut orders: Vec<Vec<Order>> = (0..shards).map(|_| Vec::new()).collect();
        if let [only] = &mut orders[..] {
            only.reserve(self.plans.len());
        }
        for (shard, plan) in self.plans {
            orders[shard].push(match plan {
                Plan::Add(job, range) => Order::Add(job.payload(payloads.slice(range))),
                Plan::Order(order) => order,
            });
        }
        let orders: Vec<(usize, Vec<Order>)> =
            orders.into_iter().enumerate().filter(|(_, orders)| !orders.is_empty()).collect();
        let waiting = Waiting {
            items: self.items,
            payloads,
            texts: self.texts,
            answers: (0..shards).map(|_| None).collect(),
            missing: orders.len(),
        };
        (orders, waiting)
    }
}

impl Waiting {
    /// Whether all shards have answered.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// A shard has answered.
    pub(super) fn answered(&mut self, shard: usize, replies: Result<Vec<OrderReply>, CallError>) {
        let answer = self.answers.get_mut(shard).filter(|answer| answer.is_none());
        if let Some(answer) = answer {
            *answer = Some(replies.map(Vec::into_iter));
            self.missing -= 1;
        }
    }

    /// Appends the replies to all requests, in their order.
    pub(super) fn write(mut self, tracks: &Tracks, out: &mut Vec<u8>) {
        let mut texts = &self.texts[..];
        let mut answers = Answers(&mut self.answers);
        for item in self.items {
            match item {
                Item::Text(len) => {
                    let (text, rest) = texts.split_at(len);
                    out.extend_from_slice(text);
                    texts = rest;
                }
                Item::Push(shard) => match answers.added(shard) {
                    Ok(()) => reply::ok(out),
                    Err(why) if why == NOT_UNIQUE => reply::error(out, "NOTUNIQUE", why),
                    Err(why) => reply::error(out, "ERR", why),
                },
                Item::PushBatch { jobs, mut refused } => {
                    for (shard, range) in jobs {
                        if let Err(why) = answers.added(shard) {
                            let raw = std::str::from_utf8(&self.payloads[range]);
                            let jid = raw.ok().and_then(Job::jid_of).unwrap_or_default();
                            refused.insert(jid.into_owned(), why);
                        }
                    }
                    write_refused(out, &refused);
                }
                Item::Ack(shard, tracked) => match answers.finished(shard) {
                    Ok(was_running) => {
                        if let Some(jid) = tracked.filter(|_| was_running) {
                            tracks.ended(&jid, End::Success, job::now());
                        }
                        reply::ok(out);
                    }
                    Err(why) => reply::error(out, "ERR", why),
                },
                Item::AckBatch(shards, tracked) => {
                    let (mut tracked, mut refusal) = (tracked.into_iter().peekable(), None);
                    for (place, shard) in shards.into_iter().enumerate() {
                        let tracked = tracked.next_if(|(tracked, _)| *tracked == place);
                        match answers.finished(shard) {
                            Ok(was_running) => {
                                if let Some((_, jid)) = tracked.filter(|_| was_running) {
                                    tracks.ended(&jid, End::Success, job::now());
                                }
                            }
                            Err(why) => drop(refusal.get_or_insert(why)),
                        }
                    }
                    // A shard that cannot answer answers none: the first reason is the only one.
                    match refusal {
                        None => write_refused(out, &BTreeMap::new()),
                        Some(why) => reply::error(out, "ERR", why),
                    }
                }
                Item::Change(shard, jid) => match answers.changed(shard) {
                    Ok(true) => reply::ok(out),
                    Ok(false) => reply::error(out, "ERR", format_args!("Job not found {jid}")),
                    Err(why) => reply::error(out, "ERR", why),
                },
                Item::Track(shard, jid) => match answers.state(shard) {
                    Ok(state) => write_state(out, &jid, state, tracks.get(&jid)),
                    Err(why) => reply::error(out, "ERR", why),
                },
                Item::Progress(shard, progress) => match answers.is_under_way(shard) {
                    Ok(true) => {
                        let Progress { jid, percent, desc } = *progress;
                        tracks.progress(&jid, percent, desc.as_deref(), job::now());
                        reply::ok(out);
                    }
                    Ok(false) => {
                        reply::error(out, "ERR", format_args!("Job not found {}", progress.jid));
                    }
                    Err(why) => reply::error(out, "ERR", why),
                },
            }
        }
    }
}

/// The answers that were not used yet, by shard.
struct Answers<'a>(&'a mut [Option<Result<vec::IntoIter<OrderReply>, CallError>>]);

impl Answers<'_> {
    fn next(&mut self, shard: usize) -> Result<OrderReply, String> {
        match &mut self.0[shard] {
            Some(Ok(replies)) => replies.next().ok_or_else(|| "the engine gave no answer".into()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the engine gave no answer".into()),
        }
    }

    fn added(&mut self, shard: usize) -> Result<(), String> {
        match self.next(shard)? {
            // A client that heard no answer sends the job again.
            OrderReply::Added(Ok(_) | Err(Refusal::KeyHeld(_))) => Ok(()),
            OrderReply::Added(Err(Refusal::NotUnique(_))) => Err(NOT_UNIQUE.to_owned()),
            OrderReply::Added(Err(Refusal::NoSuchBatch(batch))) => {
                Err(names::no_such_batch(&names::bid_of(batch)))
            }
            OrderReply::Added(Err(refusal)) | OrderReply::Refused(refusal) => {
                Err(refusal.to_string())
            }
            _ => Err(Refusal::Busy.to_string()),
        }
    }

    fn finished(&mut self, shard: usize) -> Result<bool, String> {
        match self.next(shard)? {
            OrderReply::Finished(was_running) => Ok(was_running),
            OrderReply::Refused(refusal) => Err(refusal.to_string()),
            _ => Err(Refusal::Busy.to_string()),
        }
    }

    fn changed(&mut self, shard: usize) -> Result<bool, String> {
        match self.next(shard)? {
            OrderReply::Extended(done) | OrderReply::Cancelled(done) => Ok(done),
            OrderReply::Refused(refusal) => Err(refusal.to_string()),
            _ => Err(Refusal::Busy.to_string()),
        }
    }

    /// Whether a worker has the job.
    fn is_under_way(&mut self, shard: usize) -> Result<bool, String> {
        match self.next(shard)? {
            OrderReply::Extended(done) => Ok(done),
            OrderReply::Looked(seen) => Ok(seen.is_some_and(|seen| seen.is_running)),
            OrderReply::Refused(refusal) => Err(refusal.to_string()),
            _ => Err(Refusal::Busy.to_string()),
        }
    }

    /// What the engine says of a job; `None` when it does not know it, or not any more.
    fn state(&mut self, shard: usize) -> Result<Option<&'static str>, String> {
        match self.next(shard)? {
            OrderReply::Looked(None) => Ok(None),
            OrderReply::Looked(Some(seen)) if seen.is_running => Ok(Some("working")),
            OrderReply::Looked(Some(seen)) if seen.state == JobState::Dead => Ok(Some("dead")),
            OrderReply::Looked(Some(seen)) if seen.attempts > 0 => Ok(Some("failed")),
            OrderReply::Looked(Some(_)) => Ok(Some("enqueued")),
            _ => Err(Refusal::Busy.to_string()),
        }
    }
}

/// Appends the reply to a batch: what was refused, by jid.
pub(super) fn write_refused(out: &mut Vec<u8>, refused: &BTreeMap<String, String>) {
    reply::bulk_with(out, |out| {
        // Texts as keys and values always become JSON, and memory takes all of it.
        let _ = serde_json::to_writer(out, refused);
    });
}

/// Appends the state of a job: what the engine says of it, and what else is known.
fn write_state(out: &mut Vec<u8>, jid: &str, state: Option<&str>, track: Option<Track>) {
    #[derive(serde::Serialize)]
    struct Tracked<'t> {
        jid: &'t str,
        state: &'t str,
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        desc: Option<&'t str>,
        updated_at: String,
    }
    let track = track.unwrap_or_default();
    let state = state.or(track.end.map(|end| match end {
        End::Success => "success",
        End::Dead => "dead",
    }));
    let known = Tracked {
        jid,
        state: state.unwrap_or("unknown"),
        percent: track.percent,
        desc: track.desc.as_deref(),
        updated_at: match state {
            Some(_) => track.updated_at.map(|at| at.to_string()).unwrap_or_default(),
            None => String::new(),
        },
    };
    reply::bulk_with(out, |out| {
        let _ = serde_json::to_writer(out, &known);
    });
}

fn succeeded(job: Handle) -> Order {
    Order::Finish { job, outcome: tickwheel_engine::worker::Finish::Succeeded }
}

fn error_text(error: &JobError) -> String {
    error.to_string()
}
