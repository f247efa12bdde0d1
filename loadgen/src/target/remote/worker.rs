//! One connection that fetches jobs, hands each to the account, and tells the server how it ended. It knows
//! the work protocol and the account, and measures nothing itself.

use std::{
    io, mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tickwheel_protocol::{
    Reply,
    request::{self, Fail},
};

use super::{
    Shared,
    job::{Fetched, QUEUE},
    wire::Wire,
};
use crate::{clock, measure::Ended};

/// How long a fetch of many waits for the first.
const FETCH_WAIT_MS: u32 = 250;
/// A worker says so often that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// How the use of a connection ended.
enum Turn {
    /// The run is over.
    Over,
    /// The worker is to act as one that crashed.
    Crash,
}

/// What the server is to be told.
#[derive(Default)]
struct Reports {
    done: Vec<String>,
    failed: Vec<(String, &'static str)>,
}

/// A worker.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Its number among all connections of the run.
    pub(super) slot: usize,
    /// Jobs that it fetches at a time, where the server knows how.
    pub(super) fetch: usize,
}

impl Worker {
    fn wid(&self) -> String {
        format!("loadgen-{:08x}-{}", self.shared.form.run, self.slot)
    }

    /// Connects.
    pub(super) fn open(&self) -> Result<Wire, tickwheel_protocol::ClientError> {
        let wire = self.shared.endpoint.open(Some(self.wid()))?;
        self.shared.register(self.slot, &wire.replies)?;
        Ok(wire)
    }

    /// Works until the run is over, on one connection after another.
    pub(super) fn work(&self, mut wire: Wire) {
        let mut reports = Reports::default();
        loop {
            match self.serve(&mut wire, &mut reports) {
                Ok(Turn::Over) => return,
                Ok(Turn::Crash) => {}
                Err(_) if self.shared.is_over() => return,
                Err(_) => self.shared.count_reconnect(),
            }
            // The old connection closes here, before the new one is there.
            drop(wire);
            wire = match self.shared.retry(|| self.open()) {
                Ok(Some(wire)) => wire,
                Ok(None) => return,
                Err(error) => {
                    self.shared.account.fail(format!("a worker lost the server: {error}"));
                    return;
                }
            };
        }
    }

    fn serve(&self, wire: &mut Wire, reports: &mut Reports) -> io::Result<Turn> {
        let mut beat = Instant::now();
        // One buffer for all payloads.
        let mut payload = Vec::new();
        loop {
            let is_over = self.shared.is_over();
            let is_fetching = !is_over && self.shared.wait_for_release();
            let beats = beat.elapsed() >= BEAT_EVERY;
            if beats {
                beat = Instant::now();
                request::beat(&mut wire.out, &self.wid(), "", 0);
            }
            let expected = reports.write(wire);
            if is_fetching {
                if wire.is_tickwheel {
                    request::fetch_batch(&mut wire.out, &[QUEUE], self.fetch, FETCH_WAIT_MS);
                } else {
                    request::fetch(&mut wire.out, &[QUEUE]);
                }
            }
            // A cancel that was acknowledged before this moment comes before the fetch.
            let asked_ns = clock::mono_ns();
            wire.flush()?;
            if beats {
                wire.replies.receive(|_| ())?;
            }
            for _ in 0..expected {
                let refused = wire.replies.receive(refusals)?;
                self.shared.refused_reports.fetch_add(refused, Ordering::Relaxed);
            }
            self.shared.reported(reports.take());
            if !is_fetching {
                if is_over {
                    return Ok(Turn::Over);
                }
                continue;
            }
            let mut has_crashed = false;
            wire.replies.receive(|reply| match reply {
                Reply::Bulk(json) if wire.is_tickwheel => {
                    let jobs: Vec<Fetched<'_>> = serde_json::from_slice(json)?;
                    self.shared.fetched(jobs.len());
                    for job in jobs {
                        has_crashed |= self.handle(&job, asked_ns, &mut payload, reports);
                    }
                    Ok(())
                }
                Reply::Bulk(json) => {
                    let job: Fetched<'_> = serde_json::from_slice(json)?;
                    self.shared.fetched(1);
                    has_crashed = self.handle(&job, asked_ns, &mut payload, reports);
                    Ok(())
                }
                Reply::Null => Ok(()),
                Reply::Simple(text) | Reply::Error(text) => Err(io::Error::other(text.to_owned())),
            })??;
            if has_crashed {
                return Ok(Turn::Crash);
            }
        }
    }

    /// Lets the account handle a job; whether the worker is to crash.
    fn handle(
        &self,
        job: &Fetched<'_>,
        asked_ns: u64,
        payload: &mut Vec<u8>,
        reports: &mut Reports,
    ) -> bool {
        let shared = &self.shared;
        let Some(number) = shared.form.number(&job.jid) else {
            // One that an earlier run left behind.
            shared.foreign.fetch_add(1, Ordering::Relaxed);
            reports.done.push(job.jid.to_string());
            return false;
        };
        job.payload(payload);
        let attempt = shared.attempt(number);
        match shared.account.handle(payload, attempt, Some(asked_ns), || true) {
            Ended::Well => reports.done.push(job.jid.to_string()),
            Ended::Failed(why) | Ended::Dead(why) => {
                reports.failed.push((job.jid.to_string(), why));
            }
            // The server hears nothing of these, until their leases end.
            Ended::Hung(_) => shared.reported(1),
            Ended::Crash => {
                shared.reported(1);
                return true;
            }
        }
        false
    }
}

impl Reports {
    /// Appends the requests, and says how many answers they have.
    fn write(&self, wire: &mut Wire) -> usize {
        if !wire.is_tickwheel {
            for jid in &self.done {
                request::ack(&mut wire.out, jid);
            }
            for (jid, message) in &self.failed {
                request::fail(&mut wire.out, &failure(jid, message));
            }
            return self.done.len() + self.failed.len();
        }
        if !self.done.is_empty() {
            let done: Vec<&str> = self.done.iter().map(String::as_str).collect();
            request::ack_batch(&mut wire.out, &done);
        }
        if !self.failed.is_empty() {
            let failed: Vec<Fail<'_>> =
                self.failed.iter().map(|(jid, message)| failure(jid, message)).collect();
            request::fail_batch(&mut wire.out, &failed);
        }
        usize::from(!self.done.is_empty()) + usize::from(!self.failed.is_empty())
    }

    /// Forgets all, and says how many there were.
    fn take(&mut self) -> usize {
        mem::take(&mut self.done).len() + mem::take(&mut self.failed).len()
    }
}

fn failure<'r>(jid: &'r str, message: &'r str) -> Fail<'r> {
    Fail { jid, errtype: "Load", message, backtrace: &[] }
}

/// How many reports a reply refuses.
fn refusals(reply: Reply<'_>) -> u64 {
    match reply {
        Reply::Error(_) => 1,
        Reply::Bulk(b"{}") => 0,
        Reply::Bulk(json) => {
            let refused: Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_slice(json);
            refused.map_or(1, |refused| refused.len() as u64)
        }
        _ => 0,
    }
}
