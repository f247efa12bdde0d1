//! What every system goes through, over connections of its own kind, and what comes of it. The clients of
//! Node and the libraries go through the same in their own programs.

use std::{
    collections::VecDeque,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde::Deserialize;

use crate::{PeerError, client::Client};

/// Threads that push, and as many that fetch, each with a connection.
const CONNECTIONS: u32 = 2;
/// How long a phase may take.
const PHASE_MAX: Duration = Duration::from_secs(120);
const PAYLOAD_BYTES: usize = 100;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) jobs: u32,
    /// Jobs that are due later.
    pub(crate) delayed: u32,
    /// Pushes one at a time.
    pub(crate) lone: u32,
    /// In whole seconds, since some know no shorter ones.
    pub(crate) delay_ms: u32,
    /// Pushes under way on each connection.
    pub(crate) pipeline: u32,
}

/// What one round found.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Found {
    pub(crate) push_per_s: f64,
    /// Fetched and finished.
    pub(crate) work_per_s: f64,
    pub(crate) lone_p50_us: f64,
    pub(crate) lone_p99_us: f64,
    /// From the due time until a worker has the job; none where delays are not offered.
    pub(crate) late_p50_us: Option<f64>,
    pub(crate) late_p99_us: Option<f64>,
    pub(crate) early: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
}

/// Puts the load on a system over connections that `connect` makes.
pub(crate) fn measure<C: Client>(
    size: Size,
    has_delays: bool,
    connect: impl Fn(bool) -> Result<C, PeerError> + Sync,
) -> Result<Found, PeerError> {
    let share = size.jobs / CONNECTIONS;
    let jobs = share * CONNECTIONS;
    let delayed = if has_delays { size.delayed } else { 0 };
    let all = jobs + size.lone + delayed;
    let seen: Vec<AtomicU32> = (0..all).map(|_| AtomicU32::new(0)).collect();
    let done = AtomicU32::new(0);
    let is_over = AtomicBool::new(false);
    let lateness = Mutex::new(Vec::new());

    let began = Instant::now();
    thread::scope(|scope| -> Result<(), PeerError> {
        let push = |first: u32| -> Result<(), PeerError> {
            let mut client = connect(false)?;
            push(&mut client, first..first + share, 0, size.pipeline)
        };
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|n| scope.spawn(move || push(n * share))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a panic")?)
    })?;
    let push_per_s = f64::from(jobs) / began.elapsed().as_secs_f64();

    thread::scope(|scope| {
        let (seen, done, is_over, lateness, connect) =
            (&seen, &done, &is_over, &lateness, &connect);
        let work = move || -> Result<(), PeerError> {
            let mut client = connect(true)?;
            while !is_over.load(Ordering::SeqCst) {
                let Some(text) = client.fetch_and_finish()? else { continue };
                let now_us = now_us();
                let (number, due_us) = read(&text).ok_or("a job that is not of this load")?;
                let runs = seen.get(number as usize).ok_or("a number that was never pushed")?;
                if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                    done.fetch_add(1, Ordering::SeqCst);
                }
                if number >= all - delayed {
                    let late_us = now_us as f64 - due_us as f64;
                    lateness.lock().unwrap_or_else(PoisonError::into_inner).push(late_us);
                }
            }
            Ok(())
        };
        let began = Instant::now();
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        let rest = || -> Result<(f64, Vec<f64>), PeerError> {
            let wait = |count: u32| {
                let until = Instant::now() + PHASE_MAX;
                while done.load(Ordering::SeqCst) < count {
                    if Instant::now() >= until || workers.iter().any(|one| one.is_finished()) {
                        return Err(PeerError::from("not all jobs came"));
                    }
                    thread::sleep(Duration::from_micros(500));
                }
                Ok(())
            };
            wait(jobs)?;
            let work_per_s = f64::from(jobs) / began.elapsed().as_secs_f64();
            let mut client = connect(false)?;
            let mut lone = Vec::new();
            for number in jobs..jobs + size.lone {
                let start = Instant::now();
                push(&mut client, number..number + 1, 0, 1)?;
                lone.push(start.elapsed().as_secs_f64() * 1e6);
            }
            wait(jobs + size.lone)?;
            if delayed > 0 {
                push(&mut client, jobs + size.lone..all, size.delay_ms, size.pipeline)?;
                wait(all)?;
            }
            Ok((work_per_s, lone))
        };
        let rest = rest();
        is_over.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.join().map_err(|_| "a panic")??;
        }
        let (work_per_s, mut lone) = rest?;
        let mut late =
            std::mem::take(&mut *lateness.lock().unwrap_or_else(PoisonError::into_inner));
        let runs = || seen.iter().map(|runs| runs.load(Ordering::SeqCst));
        Ok(Found {
            push_per_s,
            work_per_s,
            lone_p50_us: percentile(&mut lone, 0.5).unwrap_or(0.0),
            lone_p99_us: percentile(&mut lone, 0.99).unwrap_or(0.0),
            late_p50_us: percentile(&mut late, 0.5),
            late_p99_us: percentile(&mut late, 0.99),
            early: late.iter().filter(|us| **us < 0.0).count() as u64,
            lost: runs().filter(|runs| *runs == 0).count() as u64,
            twice: runs().filter(|runs| *runs > 1).count() as u64,
        })
    })
}

/// Runs a program that goes through the same and prints what it found.
pub(crate) fn of_program(command: &mut Command, size: Size) -> Result<Found, PeerError> {
    let sizes = [size.jobs, size.delayed, size.lone, size.delay_ms, size.pipeline];
    let output = command.args(sizes.map(|size| size.to_string())).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        return Err(format!("its client ended with {}: {}", output.status, last.join(" | ")).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn push<C: Client>(
    client: &mut C,
    numbers: std::ops::Range<u32>,
    delay_ms: u32,
    pipeline: u32,
) -> Result<(), PeerError> {
    let mut under_way = VecDeque::new();
    for number in numbers {
        if under_way.len() >= pipeline as usize {
            // Half of them at a time, so that one write carries several.
            client.flush()?;
            for _ in 0..under_way.len().div_ceil(2) {
                under_way.pop_front();
                client.take_answer()?;
            }
        }
        let due_us = now_us() + u64::from(delay_ms) * 1000;
        client.push(number, &text(number, due_us), delay_ms)?;
        under_way.push_back(number);
    }
    client.flush()?;
    under_way.iter().try_for_each(|_| client.take_answer())
}

fn text(number: u32, due_us: u64) -> String {
    format!("{:x<PAYLOAD_BYTES$}", format!("{number:08}:{due_us:016}:"))
}

fn read(text: &str) -> Option<(u32, u64)> {
    let mut parts = text.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn now_us() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as u64)
}

fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_length_and_comes_back() {
        let text = text(12, 1_700_000_000_123_456);
        assert_eq!(text.len(), PAYLOAD_BYTES);
        assert_eq!(read(&text), Some((12, 1_700_000_000_123_456)));
        assert_eq!(read("x"), None);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), Some(50.0));
        assert_eq!(percentile(&mut values, 0.99), Some(99.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}
