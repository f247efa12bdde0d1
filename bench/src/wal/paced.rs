//! Appends at a planned rate, whatever the log does (an open loop): the time of each call, and how
//! long after its planned moment each record was in the log.

use std::{
    hint::{black_box, spin_loop},
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tickwheel_wal::Durability;

use super::{Copies, ROUND, open_log::OpenLog, payload};
use crate::BenchError;

/// The longest time that a histogram tells apart: a minute.
pub(super) const TIME_NS_MAX: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// When records are due: the n-th at n / `per_second` after the begin.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records a second, from 1 to 10⁹.
    pub per_second: u64,
    /// Records of the run.
    pub records: u64,
}

/// What became of a plan.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Paced {
    /// Time of each call, in nanoseconds, the reading of the clock included.
    pub call_ns: Histogram<u64>,
    /// Time from the planned moment of each record until its call returned, in nanoseconds.
    pub behind_ns: Histogram<u64>,
    /// Time of the whole run.
    pub elapsed: Duration,
    /// Appends that found no segment ready and waited for one.
    pub waits: u64,
    /// Time of those waits.
    pub waited: Duration,
}

impl Paced {
    /// Appends to a fresh log in `parent` that syncs on its `interval`. Records are published once
    /// in [`ROUND`]; that counts against the record that comes next.
    ///
    /// # Errors
    /// The log cannot be opened, or refused a record.
    pub fn log(
        parent: &Path,
        segment_bytes: u64,
        interval: Duration,
        plan: Plan,
    ) -> Result<Self, BenchError> {
        let mut open = OpenLog::new(parent, segment_bytes, Durability::Interval(interval))?;
        open.wait_until_ready()?;
        let payload = payload()?;
        let mut unpublished = 0;
        let mut paced = run(plan, || {
            if unpublished == ROUND {
                open.log.commit();
                unpublished = 0;
            }
            unpublished += 1;
            // From here on, so that a commit counts as a delay and not as a slow append.
            let began = Instant::now();
            open.put(black_box(&payload))?;
            Ok(began)
        })?;
        open.settle()?;
        assert_eq!(open.log.stats().appended_records, plan.records);
        paced.waits = open.waits.count;
        paced.waited = open.waits.time;
        Ok(paced)
    }

    /// The same loop with copies and their CRC32C into warm memory of `len_bytes`: what the loop
    /// itself shows on this machine, which no log can be below.
    ///
    /// # Errors
    /// None of its own; the loop is shared.
    pub fn copies(len_bytes: usize, plan: Plan) -> Result<Self, BenchError> {
        let mut copies = Copies::new(len_bytes);
        run(plan, || {
            let began = Instant::now();
            black_box(copies.copy_one());
            Ok(began)
        })
    }
}

/// Carries out `plan`. `call` does one record's work and says when the measured part of it began.
#[inline]
pub(super) fn run(
    plan: Plan,
    mut call: impl FnMut() -> Result<Instant, BenchError>,
) -> Result<Paced, BenchError> {
    let mut call_ns = Histogram::new_with_bounds(1, TIME_NS_MAX, 3)?;
    let mut behind_ns = call_ns.clone();
    let began = Instant::now();
    let mut now_ns = 0;
    let mut done = 0;
    while done < plan.records {
        // What is due, and no more: the plan does not wait for the log, nor run ahead of it.
        let due = due_by(plan, now_ns).min(plan.records);
        for number in done..due {
            let called = call()?;
            let ended = Instant::now();
            now_ns = nanos(ended - began);
            call_ns.saturating_record(nanos(ended - called));
            // No record is called before its planned moment, so this cannot be below zero.
            behind_ns.saturating_record(now_ns - planned_ns(plan, number));
        }
        if due == done {
            spin_loop();
            now_ns = nanos(began.elapsed());
        }
        done = due;
    }
    let elapsed = began.elapsed();
    assert_eq!(behind_ns.len(), plan.records);
    Ok(Paced { call_ns, behind_ns, elapsed, waits: 0, waited: Duration::ZERO })
}

/// Planned moment of record `number`, counted from 0, rounded down.
fn planned_ns(plan: Plan, number: u64) -> u64 {
    (u128::from(number) * u128::from(SECOND_NS) / u128::from(plan.per_second)) as u64
}

/// Records whose planned moment is at or before `now_ns`.
fn due_by(plan: Plan, now_ns: u64) -> u64 {
    // The n-th is due if n × 10⁹ / rate, rounded down, is at most now: n × 10⁹ < (now + 1) × rate.
    let reached = (u128::from(now_ns) + 1) * u128::from(plan.per_second);
    reached.div_ceil(u128::from(SECOND_NS)) as u64
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_due_from_its_planned_moment_on() {
        for per_second in [1, 3, 7, 1_000_000, 999_999_937, SECOND_NS] {
            let plan = Plan { per_second, records: u64::MAX };
            for number in [0, 1, 2, 1000, 123_456] {
                let at = planned_ns(plan, number);
                assert!(due_by(plan, at) > number, "{number} of {per_second} is late");
                if at > 0 && planned_ns(plan, number - 1) < at {
                    assert_eq!(due_by(plan, at - 1), number, "{number} of {per_second} is early");
                }
            }
        }
    }
}
