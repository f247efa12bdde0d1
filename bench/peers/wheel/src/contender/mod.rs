//! The timers that are compared, each behind the same four calls. It knows their interfaces, never what is
//! measured.

mod bitwheel;
mod hash_wheel;
mod linked;
mod ours;
mod standard;
mod tokio;

pub(crate) use self::{
    bitwheel::{Capacity8k, Capacity128k},
    hash_wheel::HashWheel,
    linked::Linked,
    ours::Ours,
    standard::{Heap, Map},
    tokio::Delays,
};

/// Nanoseconds of a millisecond, the resolution of all that are not ours.
const MS: u64 = 1_000_000;

/// Many timers, known to their owner by numbers below a bound.
pub(crate) trait Timers {
    /// The crate or type, with its version.
    const NAME: &'static str;
    /// Whether a timer can be taken out before it is due.
    const CANCELS: bool = true;
    /// Whether exactly what is due is taken out. If not, only that something is taken out is checked.
    const IS_EXACT: bool = true;

    /// No timers; their numbers will be below `bound`.
    fn new(bound: u32) -> Self;

    /// Adds a timer, due `due_ns` after the beginning.
    fn insert(&mut self, id: u32, due_ns: u64);

    /// Takes out a timer that is not due yet.
    fn cancel(&mut self, id: u32);

    /// Takes out all timers that are due at `now_ns`, a whole number of milliseconds. Called once.
    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>);
}
