//! The thread that owns the history's log: it writes what shards hand over, gives the oldest segments
//! back, and answers subscribers. It must not know what a fact says, but for its place and time.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tickwheel_core::{
    JobId, Lsn, Token,
    fact::{Fact, Facts},
};
use tickwheel_wal::{AppendError, Appended, Log};

use super::{
    History, Outputs,
    entry::{Entry, GapEntry, fact_head},
    known::{Known, Taken},
    subscribe::{Batch, read_batch},
};
use crate::{clock, limits};

/// What the thread is asked.
pub(super) enum Message {
    /// Facts of a shard, in order.
    Facts { shard: u8, facts: Facts },
    /// Something of a shard is missing.
    Gap(GapEntry),
    /// All of a shard below a position was handed over: say so once it is durable.
    Mark { shard: u8, upto: Lsn },
    /// How far a shard's log was taken.
    Taken { shard: u8, reply: Sender<Option<Taken>> },
    /// Where a named subscription stands; it is begun at `begin` if there is none.
    Cursor { name: String, begin: Option<u64>, reply: Sender<Option<u64>> },
    /// All before a position was confirmed by a named subscription; `None`: it is not kept any more.
    Confirm { name: String, at: Option<u64>, reply: Sender<bool> },
    /// Where the history begins and ends.
    Span { reply: Sender<Range<u64>> },
    /// Entries from a position on.
    Read { from: u64, reply: Sender<Batch> },
    /// The log has something to tell.
    Look,
    /// Write what is there, and end.
    Stop,
}

/// What the thread shares with the others.
#[derive(Debug)]
pub(crate) struct Shared {
    sender: Sender<Message>,
    /// Bytes of facts that wait for the thread.
    queued_bytes: AtomicUsize,
    /// Of each shard: all below was handed over, and is durable.
    marked: Box<[AtomicU64]>,
    /// It takes nothing any more.
    is_over: AtomicBool,
    /// It should end.
    is_stopping: AtomicBool,
    progress: Mutex<u64>,
    moved: Condvar,
    outputs: Arc<Outputs>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Shared {
    pub(super) fn new(sender: Sender<Message>, durable: u64) -> Self {
        Self {
            sender,
            queued_bytes: AtomicUsize::new(0),
            marked: (0..limits::SHARDS_MAX).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            progress: Mutex::new(durable),
            moved: Condvar::new(),
            outputs: Arc::default(),
        }
    }

    /// Hands facts over; gives them back if too much waits already.
    pub(super) fn try_facts(&self, shard: u8, facts: Facts) -> Result<(), Facts> {
        let len = facts.len_bytes();
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        if queued > 0 && queued + len > limits::HISTORY_QUEUE_BYTES_MAX {
            return Err(facts);
        }
        self.queued_bytes.fetch_add(len, Ordering::Relaxed);
        self.sender.try_send(Message::Facts { shard, facts }).map_err(|refused| {
            self.queued_bytes.fetch_sub(len, Ordering::Relaxed);
            match refused.into_inner() {
                Message::Facts { facts, .. } => facts,
                _ => Facts::default(),
            }
        })
    }

    /// So many bytes of facts do not wait any more.
    pub(super) fn taken_from_queue(&self, len_bytes: usize) {
        self.queued_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
    }

    /// Hands something small over; `false` if too much waits already.
    pub(super) fn try_send(&self, message: Message) -> bool {
        self.sender.try_send(message).is_ok()
    }

    /// Hands something over, and waits for room. `false`: it takes nothing any more.
    pub(super) fn send(&self, message: Message) -> bool {
        !self.is_over() && self.sender.send(message).is_ok()
    }

    /// Whether all of the shard below `lsn` is durable here, or will never be.
    pub(crate) fn is_marked(&self, shard: u8, lsn: Lsn) -> bool {
        self.is_over() || self.marked[usize::from(shard)].load(Ordering::Acquire) >= lsn.0
    }

    /// It takes nothing any more: it has failed or ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until more than `from` is durable, at most so long; `false` if it did not come to that.
    pub(super) fn wait_beyond(&self, from: u64, wait: Duration) -> bool {
        let open = |durable: &mut u64| *durable <= from && !self.is_over();
        let waited = self.moved.wait_timeout_while(self.lock(), wait, open);
        *waited.unwrap_or_else(PoisonError::into_inner).0 > from
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_durable(&self, durable: u64) {
        let mut progress = self.lock();
        if *progress < durable {
            *progress = durable;
            self.moved.notify_all();
        }
    }

    fn set_over(&self) {
        self.is_over.store(true, Ordering::Release);
        // Whoever waits holds the lock until it sleeps.
        drop(self.lock());
        self.moved.notify_all();
    }
}

/// A history that is kept: the engine's side of it.
#[derive(Debug)]
pub(crate) struct Keeping {
    shared: Arc<Shared>,
    dir: PathBuf,
    born: u64,
    settings: History,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Keeping {
    /// Starts the thread.
    pub(super) fn start(
        keeper: Keeper,
        shared: Arc<Shared>,
        dir: PathBuf,
        settings: &History,
    ) -> io::Result<Self> {
        let born = keeper.known.born;
        let thread = thread::Builder::new().name("tw-history".to_owned());
        let thread = thread.spawn(move || keeper.run())?;
        Ok(Self { shared, dir, born, settings: settings.clone(), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn outputs(&self) -> Arc<Outputs> {
        Arc::clone(&self.shared.outputs)
    }

    pub(super) fn born(&self) -> u64 {
        self.born
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn settings(&self) -> &History {
        &self.settings
    }

    /// How far the log of a shard was taken.
    pub(super) fn taken(&self, shard: u8) -> Option<Taken> {
        self.ask(|reply| Message::Taken { shard, reply }).flatten()
    }

    /// Where the history begins and ends.
    pub(super) fn span(&self) -> Option<Range<u64>> {
        self.ask(|reply| Message::Span { reply })
    }

    /// Asks the thread; `None` if it takes nothing any more.
    pub(super) fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = bounded(1);
        if !self.shared.send(question(reply)) {
            return None;
        }
        // A thread that has ended meanwhile leaves the question in the queue.
        loop {
            match answer.recv_timeout(limits::HISTORY_LOOK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) if !self.shared.is_over() => {}
                Err(_) => return answer.try_recv().ok(),
            }
        }
    }

    /// Writes what was handed over, and ends the thread.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the history's thread panicked; the next start tells what it missed");
        }
        self.shared.set_over();
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread.
pub(super) struct Keeper {
    log: Log,
    known: Known,
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    keep_ns: u64,
    keep_bytes: u64,
    /// Marks that were appended up to a position and wait to be durable.
    marks: VecDeque<(u64, u8, Lsn)>,
    failed: bool,
    /// When a full disk was told of last.
    full_told: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        log: Log,
        known: Known,
        receiver: Receiver<Message>,
        shared: Arc<Shared>,
        settings: &History,
    ) -> Self {
        let (keep_ns, keep_bytes) = (settings.keep_ns(), settings.keep_bytes);
        let marks = VecDeque::new();
        Self {
            log,
            known,
            receiver,
            shared,
            keep_ns,
            keep_bytes,
            marks,
            failed: false,
            full_told: None,
        }
    }

    fn run(mut self) {
        let mut stops = false;
        while !stops {
            match self.receiver.recv_timeout(limits::HISTORY_TICK) {
                Ok(message) => stops = self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let mut left = limits::HISTORY_MESSAGES_MAX;
            while left > 0
                && !stops
                && let Ok(message) = self.receiver.try_recv()
            {
                stops = self.take(message);
                left -= 1;
            }
            self.log.commit();
            self.look();
            self.retain();
        }
        let shared = Arc::clone(&self.shared);
        if let Err(error) = self.log.close()
            && !self.failed
        {
            tracing::error!(%error, "the history was not closed cleanly");
        }
        shared.set_over();
    }

    /// Does what a message asks; `true`: it was the last one.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Facts { shard, facts } => {
                self.write_facts(shard, &facts);
                self.shared.taken_from_queue(facts.len_bytes());
            }
            Message::Gap(gap) => {
                tracing::warn!(?gap, "the history has a gap");
                self.write(&Entry::Gap(gap));
            }
            Message::Mark { shard, upto } => {
                if let Some(appended) = self.write(&Entry::Mark { shard, upto }) {
                    self.marks.push_back((appended.end.0, shard, upto));
                }
            }
            Message::Taken { shard, reply } => {
                // Whoever asked may have given up; so with all replies below.
                let _ = reply.send(self.known.taken(shard).cloned());
            }
            Message::Cursor { name, begin, reply } => {
                let mut at = self.known.cursors.get(&name).copied();
                let is_new = at.is_none();
                let is_full = self.known.cursors.len() >= limits::SUBSCRIPTIONS_MAX;
                if is_new
                    && !is_full
                    && let Some(begin) = begin
                {
                    at = self.write(&Entry::Cursor { name, at: Some(begin) }).map(|_| begin);
                }
                let _ = reply.send(at);
            }
            Message::Confirm { name, at, reply } => {
                let present = self.known.cursors.get(&name).copied();
                let is_done = match (present, at) {
                    (None, _) => false,
                    // A cursor does not go back.
                    (Some(present), Some(at)) if at <= present => true,
                    _ => self.write(&Entry::Cursor { name, at }).is_some(),
                };
                self.log.commit();
                let _ = reply.send(is_done);
            }
            Message::Span { reply } => {
                let _ = reply.send(self.log.head().0..self.log.appended().0);
            }
            Message::Read { from, reply } => {
                let _ = reply.send(read_batch(&self.log, from));
            }
            Message::Look => {}
            Message::Stop => return true,
        }
        false
    }

    fn write_facts(&mut self, shard: u8, facts: &Facts) {
        for (lsn, bytes) in facts.iter() {
            let Ok(fact) = Fact::decode(bytes) else { continue };
            let output = match &fact {
                Fact::Ended(ended) => {
                    self.shared.outputs.take(JobId(ended.job.job), Token(ended.token))
                }
                _ => None,
            };
            let output = output.as_deref().unwrap_or_default();
            // Whoever keeps outputs cuts them.
            let head = fact_head(shard, lsn, output.len() as u16);
            let Some(appended) = self.append(&[&head, output, bytes]) else { return };
            let segment = appended.lsn.0 / self.log.segment_bytes();
            self.known.note_fact(segment, shard, lsn, &fact);
        }
    }

    /// Writes an entry that is not a fact, and takes it in.
    fn write(&mut self, entry: &Entry<'_>) -> Option<Appended> {
        let bytes = entry.encode();
        let appended = self.append(&[&bytes])?;
        self.known.note(appended.lsn.0 / self.log.segment_bytes(), &bytes);
        Some(appended)
    }

    /// Appends a record, and waits for room. `None`: there will be none.
    fn append(&mut self, parts: &[&[u8]]) -> Option<Appended> {
        while !self.failed {
            match self.log.append(parts) {
                Ok(appended) => return Some(appended),
                Err(AppendError::SegmentNotReady) => {
                    self.log.commit();
                    thread::sleep(limits::HISTORY_LOOK);
                }
                Err(AppendError::NoSpace { message }) => {
                    self.tell_full(&message);
                    if self.shared.is_stopping.load(Ordering::Acquire) {
                        return None;
                    }
                    self.log.commit();
                    self.look();
                    thread::sleep(limits::HISTORY_FULL_PAUSE);
                }
                Err(error) => self.fail(&error),
            }
        }
        None
    }

    fn tell_full(&mut self, message: &str) {
        let is_new = self.full_told.is_none_or(|told| told.elapsed() > limits::HISTORY_FULL_TOLD);
        if is_new {
            self.full_told = Some(Instant::now());
            tracing::error!(
                message,
                "the history has no room: it waits, and what it cannot take meanwhile is a gap; make \
                 room on the disk, or keep less"
            );
        }
    }

    fn fail(&mut self, error: &dyn std::error::Error) {
        if !self.failed {
            tracing::error!(
                %error,
                "the history failed and takes nothing more until a restart; jobs go on"
            );
        }
        self.failed = true;
        self.shared.set_over();
    }

    /// Tells what has become durable.
    fn look(&mut self) {
        if let Some(failure) = self.log.failure() {
            self.fail(&failure);
            return;
        }
        let durable = self.log.durable().0;
        while let Some((_, shard, upto)) = self.marks.pop_front_if(|(end, ..)| *end <= durable) {
            self.shared.marked[usize::from(shard)].fetch_max(upto.0, Ordering::AcqRel);
        }
        self.shared.set_durable(durable);
    }

    /// Gives back the oldest segments that are too many or too old.
    fn retain(&mut self) {
        let segment_bytes = self.log.segment_bytes();
        let mut head = self.log.releasing().0;
        let in_use = self.log.appended().0 / segment_bytes;
        let oldest_kept = clock::now().wall.0.saturating_sub(self.keep_ns);
        while !self.failed && head / segment_bytes < in_use {
            let segment = head / segment_bytes;
            let len_bytes = self.log.appended().0 - head;
            // One that tells of nothing, as an opening that was killed leaves it, is as old as what follows.
            let newest = self.known.newest.range(segment..).next().map(|(_, newest)| *newest);
            if len_bytes <= self.keep_bytes && newest.is_none_or(|newest| newest >= oldest_kept) {
                return;
            }
            // What stays of it has to lie behind it, durably, before it goes.
            let state = Entry::State(self.known.state());
            if self.write(&state).is_none() {
                return;
            }
            head = (segment + 1) * segment_bytes;
            if self.log.release(tickwheel_wal::Lsn(head)).is_err() {
                return;
            }
            self.known.newest.remove(&segment);
        }
    }
}
