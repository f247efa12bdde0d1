//! The ends of what attempts wrote, on their way from handlers to the history: kept in memory until
//! the history writes the end of the attempt.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tickwheel_core::{JobId, Token};

use crate::limits;

type Name = (JobId, Token);

/// Outputs of attempts whose ends were not written yet.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    held: Mutex<Held>,
    /// How many: most attempts have none, and look no further.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Held {
    by_attempt: HashMap<Name, Box<[u8]>>,
    /// In the order in which they came. An attempt that ended before its output came never asks for
    /// it, so the oldest go when there are too many.
    order: VecDeque<Name>,
}

impl Outputs {
    /// Keeps the end of `output` for the attempt.
    pub(crate) fn keep(&self, job: JobId, token: Token, output: &[u8]) {
        let tail = &output[output.len().saturating_sub(limits::HISTORY_OUTPUT_BYTES_MAX)..];
        if tail.is_empty() {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        if held.by_attempt.insert((job, token), tail.into()).is_none() {
            held.order.push_back((job, token));
        }
        while held.order.len() > limits::HISTORY_OUTPUTS_MAX {
            if let Some(oldest) = held.order.pop_front() {
                held.by_attempt.remove(&oldest);
            }
        }
        self.count.store(held.by_attempt.len(), Ordering::Release);
    }

    /// Takes what was kept for the attempt.
    pub(crate) fn take(&self, job: JobId, token: Token) -> Option<Box<[u8]>> {
        // Kept before the end was reported, from which this follows.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = held.by_attempt.remove(&(job, token))?;
        if held.order.front() == Some(&(job, token)) {
            held.order.pop_front();
        } else {
            held.order.retain(|name| *name != (job, token));
        }
        self.count.store(held.by_attempt.len(), Ordering::Release);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_once_and_the_oldest_goes() {
        let outputs = Outputs::default();
        let long: Vec<u8> = (0..limits::HISTORY_OUTPUT_BYTES_MAX + 5).map(|n| n as u8).collect();
        outputs.keep(JobId(1), Token(1), &long);
        let taken = outputs.take(JobId(1), Token(1)).unwrap();
        assert_eq!(taken[..], long[5..]);
        assert_eq!(outputs.take(JobId(1), Token(1)), None);
        for number in 0..=limits::HISTORY_OUTPUTS_MAX as u64 {
            outputs.keep(JobId(number), Token(1), b"x");
        }
        assert_eq!(outputs.take(JobId(0), Token(1)), None);
        assert_eq!(outputs.take(JobId(1), Token(1)).as_deref(), Some(&b"x"[..]));
        outputs.keep(JobId(1), Token(1), b"");
        assert_eq!(outputs.take(JobId(1), Token(1)), None);
    }
}
