//! What the shards of one process ask each other, so that limits of a queue hold for all of them
//! together: [`Permits`], which the core asks before attempts begin, as it asks a journal for room.
//!
//! Permits are no state: they are taken live only, and after a recovery each shard says what it holds.
//! The core decides when to ask and to give back; how shards share is for whoever implements this.

use core::fmt::Debug;

use super::Rate;

/// A limited queue as all shards know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedQueue(pub u16);

/// What a shard has of a queue when it comes to its limits, or leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Attempts under way.
    pub under_way: u32,
    /// Jobs that have not ended and are not under way.
    pub waiting: u32,
    /// When the queue's rate has its whole burst again at the latest, as far as this shard knows, on
    /// the monotonic clock.
    pub full_at_ns: i64,
    /// Attempts under way at the most in all shards.
    pub concurrency: Option<u32>,
}

/// Attempts that a shard would begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How many: 1 or more.
    pub want: u32,
    /// Attempts under way at the most in all shards.
    pub concurrency: Option<u32>,
    /// How often attempts begin in all shards.
    pub rate: Option<Rate>,
    /// The monotonic clock.
    pub now_ns: i64,
}

/// What became of an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Attempts that begin now, at most as many as were wanted.
    pub granted: u32,
    /// What the shard waits for if these are less.
    pub wait: Wait,
    /// When the rate has its whole burst again, after these.
    pub full_at_ns: i64,
}

/// What a shard waits for that was given less than it wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it has all.
    No,
    /// The end of an attempt anywhere: [`Permits::news`] will name the queue.
    Place,
    /// A time of the monotonic clock; [`Permits::news`] may name the queue before.
    Until(i64),
}

/// What all shards of a process share about their limited queues, seen by one shard. Queues without
/// limits never touch it.
///
/// Between two calls nothing is locked. A shard that was told to wait sleeps: whoever makes a place
/// free gives it to the waiting shards in turn, and their [`Permits::news`] tell it.
pub trait Permits: Debug + Send {
    /// The number of the queue `name` in all shards, given out now if need be; `None` when there are
    /// too many: then its limits hold in this shard alone.
    fn queue(&mut self, name: &str) -> Option<SharedQueue>;

    /// This shard keeps to the queue's limits from now on, and has that much already, even if that
    /// is more than they let.
    fn enter(&mut self, queue: SharedQueue, holding: Holding);

    /// This shard does not keep to the queue's limits any more. All that it has is given back, and it
    /// waits no longer.
    fn leave(&mut self, queue: SharedQueue, holding: Holding);

    /// Takes leave for attempts to begin. All that are granted begin. What this shard was given while it
    /// waited is among them only within the limit that it asks with: whoever gave it may have gone by
    /// a higher one.
    fn take(&mut self, queue: SharedQueue, ask: Ask) -> Taken;

    /// An attempt has ended.
    fn release(&mut self, queue: SharedQueue, concurrency: Option<u32>);

    /// This shard waits no longer, as [`Permits::take`] had told it to. What it was given meanwhile goes
    /// to the next.
    fn withdraw(&mut self, queue: SharedQueue, wait: Wait, concurrency: Option<u32>);

    /// The limits have changed. That of attempts under way may have risen: shards that wait are given what is
    /// free. Of a rate no more is spent than lets the whole burst be there at `latest_ns`.
    fn changed(&mut self, queue: SharedQueue, concurrency: Option<u32>, latest_ns: Option<i64>);

    /// Calls `visit` for each queue whose wait may be over since the last call.
    fn news(&mut self, visit: &mut dyn FnMut(SharedQueue));

    /// One more job waits, if less than `max` do in all shards; `false` if not.
    fn admit(&mut self, queue: SharedQueue, max: u32) -> bool;

    /// One more job waits, whatever the limit.
    fn begin_waiting(&mut self, queue: SharedQueue);

    /// One job less waits.
    fn end_waiting(&mut self, queue: SharedQueue);
}
