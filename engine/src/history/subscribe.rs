//! Following the history: events in order, from a cursor on that survives a restart.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tickwheel_core::ShardId;
use tickwheel_wal::{Log, Lsn};

use super::{
    entry::Entry,
    event::{GapReason, HistoryEvent, HistoryGap, event_of},
    keeper::{Keeping, Message},
};
use crate::{engine::Engine, limits};

/// A place in the history. It stays valid over restarts; with a text form for a store of your own.
///
/// ```
/// use tickwheel_engine::HistoryCursor;
/// let cursor: HistoryCursor = "18c2f0a7-1000".parse()?;
/// assert_eq!(cursor.to_string(), "18c2f0a7-1000");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryCursor {
    born: u64,
    at: u64,
}

impl fmt::Display for HistoryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.born, self.at)
    }
}

/// The text is no [`HistoryCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cursor of the history is two hexadecimal numbers, e.g. 18c2f0a7-1000: use one as it was given"
)]
pub struct ParseHistoryCursorError;

impl FromStr for HistoryCursor {
    type Err = ParseHistoryCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| ParseHistoryCursorError);
        let (born, at) = text.split_once('-').ok_or(ParseHistoryCursorError)?;
        Ok(Self { born: number(born)?, at: number(at)? })
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest event that is kept.
    Oldest,
    /// With what happens from now on.
    Now,
    /// Behind a cursor.
    After(HistoryCursor),
}

/// An event, and the cursor behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// What to [confirm](Subscription::confirm), or to store, once this event is dealt with.
    pub cursor: HistoryCursor,
    /// The shard that tells it; `None` for what concerns the history itself.
    pub shard: Option<ShardId>,
    /// The event.
    pub event: HistoryEvent,
}

/// Why a subscription did not begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No history is kept.
    #[error("no history is kept: turn it on with Builder::history")]
    Off,
    /// The history takes no more part.
    #[error(
        "the history has failed, or the engine ends: the cursor stays valid, go on after a restart"
    )]
    Over,
    /// Too many subscriptions are kept by name.
    #[error(
        "there are {max} named subscriptions: forget one with Engine::unsubscribe, or keep the cursor yourself",
        max = limits::SUBSCRIPTIONS_MAX
    )]
    TooMany,
    /// The name is empty or too long.
    #[error("the name of a subscription has 1 to {max} bytes", max = limits::SUBSCRIPTION_NAME_BYTES_MAX)]
    Name,
    /// The subscription was forgotten meanwhile, or has no name.
    #[error("the subscription is not kept by name: store the cursor yourself")]
    NotKept,
}

/// A part of the history, as its thread reads it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Position behind each event, its shard, and the event.
    events: VecDeque<(u64, Option<u8>, HistoryEvent)>,
    /// Where the next part begins.
    next: u64,
    /// It has to be brought into memory first.
    is_cold: bool,
}

/// Reads what is durable in `log` from `from` on, a bounded part.
pub(super) fn read_batch(log: &Log, from: u64) -> Batch {
    let (durable, head) = (log.durable().0, log.head().0);
    let mut batch = Batch { next: from, ..Batch::default() };
    if from < head {
        batch.gap(from, head, GapReason::Retention);
    }
    let until = batch.next + limits::HISTORY_BATCH_BYTES;
    while batch.next < durable.min(until) && batch.events.len() < limits::HISTORY_BATCH_EVENTS_MAX {
        match log.warm(Lsn(batch.next)) {
            Ok(true) => {}
            Ok(false) => {
                batch.is_cold = true;
                return batch;
            }
            Err(_) => {
                let beyond = (batch.next / log.segment_bytes() + 1) * log.segment_bytes();
                batch.gap(batch.next, beyond.min(durable), GapReason::Damaged);
                continue;
            }
        }
        let walked = match log.next_record(Lsn(batch.next)) {
            Ok(Some(walked)) if walked.end.0 <= durable => walked,
            Ok(Some(walked)) => {
                // It is not durable yet.
                batch.next = batch.next.max(walked.lsn.0.min(durable));
                break;
            }
            Ok(None) => {
                batch.next = durable;
                break;
            }
            Err(_) => {
                let beyond = (batch.next / log.segment_bytes() + 1) * log.segment_bytes();
                batch.gap(batch.next, beyond.min(durable), GapReason::Damaged);
                continue;
            }
        };
        batch.next = walked.end.0;
        let told = match Entry::decode(&walked.record) {
            Some(Entry::Fact { shard, output, fact, .. }) => {
                event_of(shard, output, fact).ok().flatten().map(|event| (Some(shard), event))
            }
            Some(Entry::Gap(gap)) => Some((Some(gap.shard), HistoryEvent::Gap(gap.told()))),
            _ => None,
        };
        if let Some((shard, event)) = told {
            batch.events.push_back((batch.next, shard, event));
        }
    }
    batch
}

impl Batch {
    fn gap(&mut self, from: u64, to: u64, reason: GapReason) {
        let gap = HistoryGap { shard: None, from, to, at: None, reason };
        self.events.push_back((to, None, HistoryEvent::Gap(gap)));
        self.next = to;
    }
}

/// Events of an engine, in the order of each shard; see [`Engine::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    keeping: Arc<Keeping>,
    /// Kept under this name.
    name: Option<String>,
    read: VecDeque<(u64, Option<u8>, HistoryEvent)>,
    /// Where the next part begins.
    next: u64,
    /// Behind the last event that was given.
    given: u64,
}

impl Subscription {
    /// The next event; waits for it at the most so long. `None`: there was none.
    ///
    /// Events come once they are durable, about a twentieth of a second after they happened. None is
    /// left out without a word: what is missing is told as [`HistoryEvent::Gap`].
    ///
    /// # Errors
    /// [`SubscribeError::Over`].
    pub fn next(&mut self, wait: Duration) -> Result<Option<HistoryEntry>, SubscribeError> {
        let begun = Instant::now();
        loop {
            if let Some((at, shard, event)) = self.read.pop_front() {
                self.given = at;
                let cursor = self.cursor();
                return Ok(Some(HistoryEntry { cursor, shard: shard.map(ShardId), event }));
            }
            let from = self.next;
            let batch = self.keeping.ask(|reply| Message::Read { from, reply });
            let Batch { events, next, is_cold } = batch.ok_or(SubscribeError::Over)?;
            let has_moved = next > self.next;
            (self.read, self.next) = (events, next);
            if !self.read.is_empty() {
                continue;
            }
            if has_moved {
                // Nothing of it is told, and it need not be read again.
                self.given = self.next;
            }
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            if is_cold {
                thread::sleep(limits::HISTORY_LOOK.min(left));
            } else if !has_moved && !self.keeping.shared().wait_beyond(self.next, left) {
                if self.keeping.shared().is_over() {
                    return Err(SubscribeError::Over);
                }
                return Ok(None);
            }
        }
    }

    /// The cursor behind the last event that [`Subscription::next`] gave, or the one it began with.
    #[must_use]
    pub fn cursor(&self) -> HistoryCursor {
        HistoryCursor { born: self.keeping.born(), at: self.given }
    }

    /// Keeps under the subscription's name that all up to `cursor` was dealt with: after a restart it
    /// goes on behind it. It survives a kill of the process once this returns, and a power cut a
    /// twentieth of a second later; what was confirmed and lost is told again. A cursor before one that
    /// was confirmed changes nothing.
    ///
    /// # Errors
    /// [`SubscribeError::NotKept`], [`SubscribeError::Over`].
    pub fn confirm(&self, cursor: HistoryCursor) -> Result<(), SubscribeError> {
        let name = self.name.clone().ok_or(SubscribeError::NotKept)?;
        if cursor.born != self.keeping.born() {
            return Err(SubscribeError::NotKept);
        }
        let at = Some(cursor.at);
        match self.keeping.ask(|reply| Message::Confirm { name, at, reply }) {
            Some(true) => Ok(()),
            Some(false) => Err(SubscribeError::NotKept),
            None => Err(SubscribeError::Over),
        }
    }
}

impl Engine {
    /// Follows what happens, under a name: the engine keeps durably how far the subscriber has
    /// [confirmed](Subscription::confirm), and a subscription of the same name goes on there, after a
    /// restart too. One that is new starts at `begin`. Each event is told at least once; one name is for
    /// one subscriber at a time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tickwheel_engine::{Begin, Engine, History, HistoryEvent, NewJob};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path();
    /// let engine = Engine::builder()
    ///     .data_dir(data_dir)
    ///     .history(History::new())
    /// #   .segment_bytes(8 << 20)
    ///     .handler("greet", |_| Ok(()))
    ///     .start()?;
    /// let mut events = engine.subscribe("audit", Begin::Oldest)?;
    /// let id = engine.submit(NewJob::new("greet"))?;
    /// while let Some(entry) = events.next(Duration::from_secs(20))? {
    ///     if let HistoryEvent::Ended(ended) = &entry.event {
    ///         assert_eq!((ended.job.job, ended.attempt), (id, 1));
    ///         events.confirm(entry.cursor)?;
    ///         break;
    ///     }
    /// }
    /// engine.shutdown(Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub fn subscribe(&self, name: &str, begin: Begin) -> Result<Subscription, SubscribeError> {
        if name.is_empty() || name.len() > limits::SUBSCRIPTION_NAME_BYTES_MAX {
            return Err(SubscribeError::Name);
        }
        let mut subscription = self.subscribe_at(begin)?;
        let begin = Some(subscription.next);
        let name = name.to_owned();
        let ask = |reply| Message::Cursor { name: name.clone(), begin, reply };
        let at = subscription.keeping.ask(ask).ok_or(SubscribeError::Over)?;
        let at = at.ok_or(SubscribeError::TooMany)?;
        if Some(at) != begin {
            subscription.read.clear();
        }
        (subscription.next, subscription.given) = (at, at);
        subscription.name = Some(name);
        Ok(subscription)
    }

    /// Follows what happens from a place on; the subscriber keeps the cursors itself.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub fn subscribe_at(&self, begin: Begin) -> Result<Subscription, SubscribeError> {
        let keeping = Arc::clone(self.history.as_ref().ok_or(SubscribeError::Off)?);
        let mut read = VecDeque::new();
        let next = match begin {
            // The beginning of what is kept is no gap to whoever asks for that.
            Begin::Oldest => keeping.span().ok_or(SubscribeError::Over)?.start,
            Begin::Now => keeping.span().ok_or(SubscribeError::Over)?.end,
            Begin::After(cursor) if cursor.born == keeping.born() => cursor.at,
            Begin::After(cursor) => {
                let reason = GapReason::Replaced;
                let gap =
                    HistoryGap { shard: None, from: cursor.at, to: cursor.at, at: None, reason };
                let head = keeping.span().ok_or(SubscribeError::Over)?.start;
                read.push_back((head, None, HistoryEvent::Gap(gap)));
                head
            }
        };
        Ok(Subscription { keeping, name: None, read, next, given: next })
    }

    /// Forgets a named subscription; `false` if there is none.
    ///
    /// # Errors
    /// [`SubscribeError::Off`], [`SubscribeError::Over`].
    pub fn unsubscribe(&self, name: &str) -> Result<bool, SubscribeError> {
        let keeping = self.history.as_ref().ok_or(SubscribeError::Off)?;
        let name = name.to_owned();
        let done = keeping.ask(|reply| Message::Confirm { name, at: None, reply });
        done.ok_or(SubscribeError::Over)
    }
}
