//! Failures that workers report. A failure goes into the job, and what it says depends on how often
//! the job was tried: so the job is looked at first, and its attempt ended with what was found.

use std::{borrow::Cow, collections::BTreeMap};

use tickwheel_engine::{
    Bytes, CallError, Engine, Refusal,
    worker::{Finish, Handle, Order, OrderReply, Seen},
};
use tickwheel_protocol::{Edits, FailReport, Failure, Job, RefusedReport, reply};

use super::{
    job, limits, names, round,
    tracks::{End, Tracks},
};

/// Reports of requests that follow each other.
#[derive(Debug, Default)]
pub(super) struct Fails {
    reports: Vec<Report>,
    /// How the reports make up requests.
    requests: Vec<Request>,
    stage: Stage,
    /// Shards that have not answered.
    missing: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Looking,
    Ending,
}

#[derive(Debug)]
enum Request {
    One,
    /// So many reports, and those that were refused at once.
    Batch(usize, BTreeMap<String, String>),
}

#[derive(Debug)]
struct Report {
    shard: usize,
    job: Handle,
    report: FailReport<'static>,
    seen: Option<Box<Seen>>,
    /// The attempt was the last one.
    is_last: bool,
    /// What became of it, once it is known.
    refusal: Option<String>,
}

impl Fails {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Adds a `FAIL`.
    pub(super) fn add(&mut self, engine: &Engine, report: FailReport<'_>) {
        self.requests.push(Request::One);
        self.report(engine, report);
    }

    /// Adds a `FAILB`.
    pub(super) fn add_batch(
        &mut self,
        engine: &Engine,
        reports: Vec<Result<FailReport<'_>, RefusedReport<'_>>>,
    ) {
        let (mut count, mut refused) = (0, BTreeMap::new());
        for report in reports {
            match report {
                Ok(report) => {
                    count += 1;
                    self.report(engine, report);
                }
                Err(bad) => drop(refused.insert(bad.jid.into_owned(), bad.error.to_string())),
            }
        }
        self.requests.push(Request::Batch(count, refused));
    }

    fn report(&mut self, engine: &Engine, report: FailReport<'_>) {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let report = FailReport {
            jid: owned(report.jid),
            errtype: owned(report.errtype),
            message: owned(report.message),
            backtrace: report.backtrace.into_iter().map(owned).collect(),
        };
        let (shard, job) = names::find(engine, &report.jid);
        let report = Report { shard, job, report, seen: None, is_last: false, refusal: None };
        self.reports.push(report);
    }

    /// The orders of the present stage, by shard. None means that all is known.
    pub(super) fn orders(&mut self, shards: usize) -> Vec<(usize, Vec<Order>)> {
        let mut orders: Vec<Vec<Order>> = (0..shards).map(|_| Vec::new()).collect();
        for entry in &mut self.reports {
            let job = entry.job;
            match self.stage {
                Stage::Looking => orders[entry.shard].push(Order::Look { job }),
                Stage::Ending => {
                    if let Some(seen) = entry.seen.take() {
                        let outcome = outcome(&entry.report, &seen);
                        entry.is_last = seen.attempts >= seen.attempts_max;
                        orders[entry.shard].push(Order::Finish { job, outcome });
                    }
                }
            }
        }
        let orders: Vec<(usize, Vec<Order>)> =
            orders.into_iter().enumerate().filter(|(_, orders)| !orders.is_empty()).collect();
        self.missing = orders.len();
        orders
    }

    /// A shard has answered; true when all have.
    pub(super) fn answered(
        &mut self,
        shard: usize,
        replies: Result<Vec<OrderReply>, CallError>,
    ) -> bool {
        let is_open = |entry: &&mut Report| entry.shard == shard && entry.refusal.is_none();
        let open = self.reports.iter_mut().filter(is_open);
        match replies {
            Ok(replies) => {
                for (entry, answer) in open.zip(replies) {
                    entry.take(answer);
                }
            }
            Err(error) => open.for_each(|entry| entry.refusal = Some(error.to_string())),
        }
        self.missing = self.missing.saturating_sub(1);
        self.missing == 0
    }

    /// Goes on to the second stage; false when it was that.
    pub(super) fn next_stage(&mut self) -> bool {
        std::mem::replace(&mut self.stage, Stage::Ending) == Stage::Looking
    }

    /// Appends the replies to all requests, in their order.
    pub(super) fn write(self, tracks: &Tracks, out: &mut Vec<u8>) {
        let is_over = |entry: &&Report| entry.refusal.is_none() && entry.is_last;
        for entry in self.reports.iter().filter(is_over) {
            tracks.ended(&entry.report.jid, End::Dead, job::now());
        }
        let mut reports = self.reports.into_iter();
        for request in self.requests {
            match request {
                Request::One => match reports.next().and_then(|entry| entry.refusal) {
                    None => reply::ok(out),
                    Some(why) => reply::error(out, "ERR", why),
                },
                Request::Batch(count, mut refused) => {
                    for entry in reports.by_ref().take(count) {
                        if let Some(why) = entry.refusal {
                            refused.insert(entry.report.jid.into_owned(), why);
                        }
                    }
                    round::write_refused(out, &refused);
                }
            }
        }
    }
}

impl Report {
    fn take(&mut self, answer: OrderReply) {
        let jid = &self.report.jid;
        match answer {
            OrderReply::Looked(Some(seen)) if seen.is_running => self.seen = Some(seen),
            OrderReply::Looked(_) | OrderReply::Finished(false) => {
                self.refusal = Some(format!("Job not found {jid}"));
            }
            OrderReply::Finished(true) => {}
            OrderReply::Refused(refusal) => self.refusal = Some(refusal.to_string()),
            _ => self.refusal = Some(Refusal::Busy.to_string()),
        }
    }
}

/// The end of an attempt, with the failure in the job's JSON.
fn outcome(report: &FailReport<'_>, seen: &Seen) -> Finish {
    let mut raw = Vec::new();
    if let Err(error) = seen.payload.append_to(&mut raw) {
        tracing::error!(jid = &*report.jid, "a job cannot be read: {error}");
        raw.clear();
    }
    // A run of a schedule becomes a job of its own.
    let whole = std::str::from_utf8(&raw).ok().zip(names::job_of(&report.jid));
    if let Some(whole) = whole.and_then(|(raw, id)| job::of_run(id, raw)) {
        raw = whole;
    }
    let message = match (&*report.errtype, &*report.message) {
        ("", message) => message.to_owned(),
        (errtype, "") => errtype.to_owned(),
        (errtype, message) => format!("{errtype}: {message}"),
    };
    let payload = std::str::from_utf8(&raw).ok().and_then(|raw| with_failure(report, seen, raw));
    Finish::Failed { message, permanent: false, payload: payload.map(Bytes::from) }
}

/// The job with its failure; `None` if there is no room for it.
fn with_failure(report: &FailReport<'_>, seen: &Seen, raw: &str) -> Option<Vec<u8>> {
    let job = Job::parse(raw, limits::PAYLOAD_BYTES_MAX).ok()?;
    let mut failure = Failure {
        retry_count: u32::from(seen.attempts.saturating_sub(1)),
        remaining: u32::from(seen.attempts_max.saturating_sub(seen.attempts)),
        failed_at: Some(job::now()),
        next_at: None,
        message: report.message.clone(),
        errtype: report.errtype.clone(),
        backtrace: report.backtrace.clone(),
    };
    failure.backtrace.truncate(job.backtrace_lines as usize);
    let mut out = Vec::with_capacity(raw.len() + 512);
    job.write_with(Edits { failure: Some(&failure), ..Edits::default() }, &mut out);
    (out.len() <= limits::PAYLOAD_BYTES_MAX).then_some(out)
}
