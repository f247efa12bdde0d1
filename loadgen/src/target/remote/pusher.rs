//! One connection that jobs are pushed on: requests go out as they come, answers are read by a thread of its
//! own. When the connection is lost, all that was not answered is sent again on a new one; the jids make
//! sure that each job is taken once.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    mem,
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tickwheel_protocol::Reply;

use super::{Shared, wire::Replies};
use crate::{measure::Answer, target::Answered};

/// How often a submitter that waits for a place looks whether the run is over.
const LOOK: Duration = Duration::from_millis(100);

/// A request that is not answered yet.
pub(super) struct Request {
    pub(super) line: Bytes,
    /// The jobs in it, by number.
    pub(super) first: u32,
    pub(super) jobs: u32,
    pub(super) is_batch: bool,
    /// Whoever waits for all answers up to this one.
    pub(super) then: Option<Answered>,
}

/// A connection for pushes.
pub(super) struct Pusher {
    shared: Arc<Shared>,
    /// Its number among all connections of the run.
    slot: usize,
    pipeline: usize,
    queue: Mutex<Queue>,
    room: Condvar,
    writer: Mutex<Option<TcpStream>>,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they were sent.
    waiting: VecDeque<Request>,
    /// Places that are taken: those that wait, and those that are about to.
    taken: usize,
    /// Why nothing goes any more.
    failure: Option<String>,
}

impl Pusher {
    pub(super) fn new(shared: Arc<Shared>, slot: usize, pipeline: usize) -> Self {
        Self {
            shared,
            slot,
            pipeline,
            queue: Mutex::default(),
            room: Condvar::new(),
            writer: Mutex::new(None),
        }
    }

    /// Sends a request, once there is a place in the pipeline.
    pub(super) fn send(&self, request: Request) -> Result<(), String> {
        let mut queue = self.queue();
        while queue.taken >= self.pipeline {
            if let Some(failure) = &queue.failure {
                return Err(failure.clone());
            }
            if self.shared.is_over() {
                // It was never sent, and nobody waits for its answer any more.
                return Ok(());
            }
            let waited = self.room.wait_timeout(queue, LOOK);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.taken += 1;
        drop(queue);
        // The order of requests is that of this lock.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let line = request.line.clone();
        let mut queue = self.queue();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        queue.waiting.push_back(request);
        drop(queue);
        // Without a connection, the next one begins with all that waits.
        if let Some(mut socket) = writer.as_ref()
            && socket.write_all(&line).is_err()
        {
            // The reader notices, and connects anew.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// Connects, for the first time.
    pub(super) fn connect(&self) -> Result<Replies, tickwheel_protocol::ClientError> {
        let wire = self.shared.endpoint.open(None)?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(self.shared.register(self.slot, &wire.replies)?);
        Ok(wire.replies)
    }

    /// Reads answers until the run is over.
    pub(super) fn read(&self, mut replies: Replies) {
        let mut answers = Vec::new();
        loop {
            let why = self.take_answers(&mut replies, &mut answers);
            if self.shared.is_over() {
                return;
            }
            replies = match self.reconnect() {
                Ok(Some(replies)) => replies,
                Ok(None) => return,
                Err(error) => {
                    self.fail(format!("{why}, and then {error}"), answers);
                    return;
                }
            };
        }
    }

    /// Reads answers until the connection fails, and says why it did.
    fn take_answers(&self, replies: &mut Replies, answers: &mut Vec<Answer>) -> String {
        loop {
            let taken = replies.receive(|reply| {
                let request = self.queue().waiting.pop_front()?;
                self.answer(&request, reply, answers)?;
                if let Some(then) = request.then {
                    then(Ok(mem::take(answers)));
                }
                self.queue().taken -= 1;
                self.room.notify_all();
                Some(())
            });
            match taken {
                Ok(Some(())) => {}
                Ok(None) => {
                    return "the server sent an answer that belongs to no request".to_owned();
                }
                Err(error) => return format!("a connection failed: {error}"),
            }
        }
    }

    /// Appends what became of each job of a request. `None`: the reply is none to such a request.
    fn answer(&self, request: &Request, reply: Reply<'_>, answers: &mut Vec<Answer>) -> Option<()> {
        let begin = answers.len();
        match reply {
            Reply::Simple(_) if !request.is_batch => answers.push(Ok(request.first.into())),
            Reply::Error(text) => {
                answers.extend((0..request.jobs).map(|_| Err(text.to_owned())));
            }
            Reply::Bulk(json) if request.is_batch => {
                answers.extend((0..request.jobs).map(|at| Ok(u64::from(request.first + at))));
                if json != b"{}" {
                    let refused: BTreeMap<String, String> = serde_json::from_slice(json).ok()?;
                    for (jid, why) in refused {
                        let number = self.shared.form.number(&jid)?;
                        let at = number.checked_sub(request.first)? as usize;
                        *answers.get_mut(begin + at)? = Err(why);
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Connects anew and sends all that was not answered. `None`: the run is over.
    fn reconnect(&self) -> Result<Option<Replies>, String> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *writer = None;
        let replies = self.shared.retry(|| {
            let wire = self.shared.endpoint.open(None)?;
            let mut socket = self.shared.register(self.slot, &wire.replies)?;
            let lines: Vec<Bytes> =
                self.queue().waiting.iter().map(|request| request.line.clone()).collect();
            // Answers are short, and there are few enough that they fit into the socket's buffers.
            for line in &lines {
                socket.write_all(line)?;
            }
            *writer = Some(socket);
            Ok(wire.replies)
        })?;
        if replies.is_some() {
            self.shared.count_reconnect();
        }
        Ok(replies)
    }

    /// Tells all who wait that the fate of their jobs is not known.
    fn fail(&self, why: String, mut answers: Vec<Answer>) {
        let mut queue = self.queue();
        queue.failure = Some(why.clone());
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        self.room.notify_all();
        answers.clear();
        for request in waiting {
            if let Some(then) = request.then {
                then(Err(why.clone()));
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
