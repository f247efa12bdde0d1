//! One connection: its socket, what it waits for, and the order of its replies. What a command means
//! is in [`session`](super::session).

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Token, event::Event, net::TcpStream};
use tickwheel_engine::{
    CallError, Engine,
    worker::{FetchTicket, Fetched, Finish, Order, OrderReply, Promise},
};
use tickwheel_protocol::{Decoded, RequestDecoder, reply};

use super::{
    buffers::{Input, Output},
    control::Controls,
    fails::Fails,
    job::{self, Terms},
    limits,
    mailbox::{Address, Letter, Mailbox},
    round::{Round, Waiting},
    session::{Flow, Session},
    shared::Shared,
    stream::Stream,
};

/// What an I/O thread gives its connections.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) controls: Controls,
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    token: Token,
    stream: Stream,
    address: IpAddr,
    session: Session,
    decoder: RequestDecoder,
    input: Input,
    output: Output,
    /// What was asked and not answered, in its order. A fetch, failures or a control are the last.
    pending: VecDeque<Pending>,
    /// The number of the first of them.
    first: u64,
    /// Since when a request has begun and not ended.
    unfinished: Option<Instant>,
    request_wait: Duration,
    /// As far as the system has said.
    can_read: bool,
    can_write: bool,
    /// The client sends no more, as the system says.
    is_half_closed: bool,
    /// All that the client sent was read.
    is_input_over: bool,
    life: Life,
    /// It is in the list of those that are looked at next.
    pub(super) is_listed: bool,
}

/// How far the connection is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// No more requests are taken; it is closed once all replies are written.
    Answering,
    /// All replies are written, the client has to close: so that what it sent and nobody read does
    /// not destroy them on their way.
    Lingering(Instant),
    Ended,
}

#[derive(Debug)]
enum Pending {
    Round(Waiting),
    Fails(Fails, bool),
    Fetch {
        ticket: FetchTicket,
        is_batch: bool,
        fetched: Option<Vec<Fetched>>,
    },
    /// A command for the control thread, and its reply.
    Control(Option<Vec<u8>>),
    Refused(CallError),
}

/// What [`Connection::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for an event.
    Waits,
    /// It has more to do and lets others have their turn.
    Again,
    /// It is to be dropped.
    Ended,
}

impl Connection {
    pub(super) fn new(token: Token, stream: Stream, address: IpAddr, context: &Context) -> Self {
        let mut output = Output::default();
        let session = Session::new(&context.shared, output.bytes());
        Self {
            token,
            stream,
            address,
            session,
            decoder: RequestDecoder::new(),
            input: Input::default(),
            output,
            pending: VecDeque::new(),
            first: 0,
            unfinished: None,
            request_wait: context.shared.request_wait,
            can_read: true,
            can_write: true,
            is_half_closed: false,
            is_input_over: false,
            life: Life::Open,
            is_listed: false,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        self.stream.socket()
    }

    /// The system said what can be done.
    pub(super) fn ready(&mut self, event: &Event) {
        self.can_read |= event.is_readable() || event.is_read_closed();
        self.can_write |= event.is_writable();
        self.is_half_closed |= event.is_read_closed();
        if event.is_error() || event.is_write_closed() {
            self.life = Life::Ended;
        }
    }

    /// Bytes of requests that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// Whether there is a deadline to look after.
    pub(super) fn has_deadline(&self) -> bool {
        self.deadline().is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Lingering(deadline) => Some(deadline),
            _ => {
                let stalled = self.output.stalled().map(|since| since + limits::STALL_WAIT);
                let unfinished = self.unfinished.map(|since| since + self.request_wait);
                stalled.into_iter().chain(unfinished).chain(self.session.deadline()).min()
            }
        }
    }

    /// Cuts the connection if its deadline is over; true if so.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let is_over = self.deadline().is_some_and(|deadline| deadline <= now);
        if is_over {
            tracing::debug!(address = %self.address, "a client was too slow and is cut");
            self.life = Life::Ended;
        }
        is_over
    }

    /// Refuses to go on, for want of memory.
    pub(super) fn refuse(&mut self, why: &str) {
        self.input.clear();
        reply::error(self.output.bytes(), "ERR", why);
        self.stop_taking();
    }

    /// Takes no more requests; those that were taken are answered.
    pub(super) fn stop_taking(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Answering;
        }
    }

    /// Reads, decodes, hands over, and writes, as far as can be done now.
    pub(super) fn advance(&mut self, context: &Context, scratch: &mut [u8]) -> Turn {
        let mut turns = 0;
        while turns < limits::READS_PER_TURN {
            turns += 1;
            self.work(context);
            if !self.can_read || !self.may_read() || !self.read(context, scratch) {
                break;
            }
        }
        self.work(context);
        self.flush();
        match self.life {
            Life::Ended => Turn::Ended,
            Life::Answering if self.pending.is_empty() && self.is_all_sent() => self.close_gently(),
            _ if self.can_read && self.may_read() => Turn::Again,
            _ => Turn::Waits,
        }
    }

    fn is_all_sent(&self) -> bool {
        self.output.is_empty() && !self.stream.has_unsent()
    }

    /// Hands over what can be decoded, and writes the answers whose turn it is, which may make room
    /// for more.
    fn work(&mut self, context: &Context) {
        loop {
            self.write_answers(context);
            let before = (self.input.len(), self.life);
            self.decode_waiting(context);
            if before == (self.input.len(), self.life) {
                break;
            }
        }
        // What waits for its turn is not late.
        let is_unfinished = !self.input.is_empty() && !self.is_blocked();
        self.unfinished = is_unfinished.then(|| self.unfinished.unwrap_or_else(Instant::now));
    }

    /// Whether more is to be read: to be decoded, or to see that the client has gone.
    fn may_read(&self) -> bool {
        match self.life {
            Life::Open if self.is_blocked() => {
                self.input.len() < limits::WAITING_BYTES_MAX
                    && self.output.len() < limits::REPLY_BYTES_PAUSE
            }
            Life::Open | Life::Lingering(_) => true,
            Life::Answering | Life::Ended => false,
        }
    }

    /// Whether what has come must wait for what was asked before.
    fn is_blocked(&self) -> bool {
        self.life != Life::Open
            || self.pending.len() >= limits::ROUNDS_MAX
            || self.output.len() >= limits::REPLY_BYTES_PAUSE
            || matches!(
                self.pending.back(),
                Some(Pending::Fetch { .. } | Pending::Fails(..) | Pending::Control(_))
            )
    }

    /// One read; false when there is nothing more to be had.
    fn read(&mut self, context: &Context, scratch: &mut [u8]) -> bool {
        let read = match self.stream.read(scratch) {
            Ok(0) => {
                self.can_read = false;
                self.input_ended();
                return false;
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                self.can_read = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.life = Life::Ended;
                }
                return false;
            }
        };
        // A short read has emptied the socket; what comes later, also its end, is an event.
        let is_short = read < scratch.len() && self.stream.is_empty_after_short_read();
        self.can_read = !is_short || self.is_half_closed;
        let bytes = &scratch[..read];
        if matches!(self.life, Life::Lingering(_)) {
            return true;
        }
        // Mostly a read brings whole requests: they are decoded where they are.
        let used = if self.input.is_empty() { self.decode(context, bytes) } else { 0 };
        if used < read && self.life == Life::Open {
            self.input.keep(&bytes[used..]);
        }
        true
    }

    /// The client sends no more. What it asked is answered, but it gets no more jobs: most often it
    /// is gone.
    fn input_ended(&mut self) {
        self.is_input_over = true;
        if matches!(self.life, Life::Lingering(_)) {
            self.life = Life::Ended;
        }
        self.withdraw();
    }

    /// Ends the wait of a fetch, if nothing was found for it yet.
    pub(super) fn withdraw(&mut self) {
        if let Some(Pending::Fetch { ticket, fetched, .. }) = self.pending.back_mut()
            && fetched.is_none()
            && ticket.withdraw()
        {
            *fetched = Some(Vec::new());
        }
    }

    fn decode_waiting(&mut self, context: &Context) {
        if !self.input.is_empty() && !self.is_blocked() {
            let mut input = std::mem::take(&mut self.input);
            input.offer(|bytes| self.decode(context, bytes));
            self.input = input;
        }
        if self.is_input_over && !self.is_blocked() {
            // What is left is no whole request, and never will be.
            self.stop_taking();
        }
        if self.life != Life::Open {
            self.input.clear();
        }
    }

    /// Decodes requests and hands them over; the bytes that they took.
    fn decode(&mut self, context: &Context, bytes: &[u8]) -> usize {
        let terms = Terms { now: job::now(), backoff: context.shared.backoff };
        let (mut used, mut commands) = (0, 0);
        let (mut round, mut fails) = (Round::default(), Fails::default());
        while !self.is_blocked() {
            let limits = self.session.limits();
            let Decoded::Request { len_bytes, command } =
                self.decoder.decode(&bytes[used..], limits)
            else {
                break;
            };
            let is_failure = matches!(&command, Ok(command) if Session::is_failure(command));
            if !is_failure && !fails.is_empty() {
                // Its turn comes when the failures are recorded.
                break;
            }
            let line = &bytes[used..used + len_bytes];
            used += len_bytes;
            commands += 1;
            let command = match command {
                Ok(command) => command,
                Err(error) => {
                    let is_fatal = error.is_fatal() || self.session.deadline().is_some();
                    round.refuse(error);
                    if is_fatal {
                        self.stop_taking();
                    }
                    continue;
                }
            };
            if is_failure {
                self.give(context, std::mem::take(&mut round));
            }
            match self.session.take(context, command, terms, &mut round, &mut fails) {
                Flow::Goes => {}
                Flow::Fetch(fetch, is_batch) => {
                    self.give(context, std::mem::take(&mut round));
                    self.fetch(context, &fetch, is_batch);
                }
                Flow::Control => {
                    self.give(context, std::mem::take(&mut round));
                    self.control(context, line);
                }
                Flow::Ends => self.stop_taking(),
            }
        }
        self.give(context, round);
        if !fails.is_empty() {
            self.pending.push_back(Pending::Fails(fails, false));
            self.give_fails(context);
        }
        if commands > 0 {
            self.unfinished = None;
        }
        context.shared.commands.fetch_add(commands, std::sync::atomic::Ordering::Relaxed);
        used
    }

    /// The address of what is pushed next to `pending`.
    fn next_address(&self) -> Address {
        Address { connection: self.token, number: self.first + self.pending.len() as u64 }
    }

    fn give(&mut self, context: &Context, round: Round) {
        if round.is_empty() {
            return;
        }
        let to = self.next_address();
        let promise = if round.only_ends() { context.shared.ends } else { Promise::Durable };
        let (orders, mut waiting) = round.divide(context.engine.shards());
        for (shard, orders) in orders {
            if let Err(error) = context.order(to, shard, orders, promise) {
                waiting.answered(shard, Err(error));
            }
        }
        self.pending.push_back(Pending::Round(waiting));
    }

    fn fetch(
        &mut self,
        context: &Context,
        fetch: &tickwheel_engine::worker::Fetch,
        is_batch: bool,
    ) {
        let to = self.next_address();
        let mailbox = Arc::clone(&context.mailbox);
        let then = move |fetched| mailbox.post(Letter::Fetched { to, fetched });
        self.pending.push_back(match context.engine.fetch(fetch, then) {
            Ok(ticket) => Pending::Fetch { ticket, is_batch, fetched: None },
            Err(error) => Pending::Refused(error),
        });
        if self.is_input_over {
            self.withdraw();
        }
    }

    fn control(&mut self, context: &Context, line: &[u8]) {
        let is_left = context.controls.leave(self.next_address(), &context.mailbox, line);
        self.pending.push_back(Pending::Control(if is_left {
            None
        } else {
            let mut refusal = Vec::new();
            let why = "too many commands about the whole server wait; try again later";
            reply::error(&mut refusal, "ERR", why);
            Some(refusal)
        }));
    }

    /// The control thread has answered.
    pub(super) fn controlled(&mut self, number: u64, reply: Vec<u8>) {
        match self.pending_at(number) {
            Some(Pending::Control(answer)) => *answer = Some(reply),
            _ => debug_assert!(false, "a command was answered that nobody gave"),
        }
    }

    /// Gives the orders of the present stage of failures to the engine, and of the next one if there
    /// are none.
    fn give_fails(&mut self, context: &Context) {
        let number = self.first + self.pending.len() as u64 - 1;
        let Some(Pending::Fails(fails, is_complete)) = self.pending.back_mut() else { return };
        loop {
            let mut is_answered = true;
            for (shard, orders) in fails.orders(context.engine.shards()) {
                let to = Address { connection: self.token, number };
                is_answered = match context.order(to, shard, orders, context.shared.ends) {
                    Ok(()) => false,
                    Err(error) => fails.answered(shard, Err(error)),
                };
            }
            if !is_answered {
                return;
            }
            if !fails.next_stage() {
                *is_complete = true;
                return;
            }
        }
    }

    /// A shard answered orders.
    pub(super) fn ordered(
        &mut self,
        context: &Context,
        number: u64,
        shard: usize,
        replies: Result<Vec<OrderReply>, CallError>,
    ) {
        match self.pending_at(number) {
            Some(Pending::Round(waiting)) => waiting.answered(shard, replies),
            Some(Pending::Fails(fails, is_complete)) => {
                if fails.answered(shard, replies) {
                    if fails.next_stage() {
                        self.give_fails(context);
                    } else {
                        *is_complete = true;
                    }
                }
            }
            _ => debug_assert!(false, "orders were answered that nobody gave"),
        }
    }

    /// A fetch was answered.
    pub(super) fn fetched(&mut self, context: &Context, number: u64, jobs: Vec<Fetched>) {
        match self.pending_at(number) {
            Some(Pending::Fetch { fetched: fetched @ None, .. }) => *fetched = Some(jobs),
            _ => give_back(&context.engine, &jobs),
        }
    }

    fn pending_at(&mut self, number: u64) -> Option<&mut Pending> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.pending.get_mut(place)
    }

    /// Writes the replies whose turn it is.
    fn write_answers(&mut self, context: &Context) {
        loop {
            let is_complete = match self.pending.front() {
                Some(Pending::Round(waiting)) => waiting.is_complete(),
                Some(Pending::Fails(_, is_complete)) => *is_complete,
                Some(Pending::Fetch { fetched, .. }) => fetched.is_some(),
                Some(Pending::Control(reply)) => reply.is_some(),
                Some(Pending::Refused(_)) => true,
                None => false,
            };
            if !is_complete {
                return;
            }
            let out = self.output.bytes();
            match self.pending.pop_front() {
                Some(Pending::Round(waiting)) => {
                    waiting.write(&context.shared.tracks, out);
                }
                Some(Pending::Fails(fails, _)) => {
                    fails.write(&context.shared.tracks, out);
                }
                Some(Pending::Control(reply)) => out.extend(reply.unwrap_or_default()),
                Some(Pending::Refused(error)) => reply::error(out, "ERR", error),
                Some(Pending::Fetch { fetched, is_batch, .. }) => {
                    let jobs = fetched.unwrap_or_default();
                    match is_batch {
                        true => write_jobs(context, &jobs, out),
                        false => write_job(&jobs, out),
                    }
                }
                None => {}
            }
            self.first += 1;
        }
    }

    fn flush(&mut self) {
        if self.can_write && self.life != Life::Ended {
            let written = self.output.write_to(&mut self.stream);
            match written.and_then(|is_full| Ok(self.stream.send()? || is_full)) {
                Ok(is_full) => self.can_write = !is_full,
                Err(_) => self.life = Life::Ended,
            }
        }
        if self.output.len() > limits::REPLY_BYTES_MAX {
            tracing::warn!(address = %self.address, "a client takes no replies and is cut");
            self.life = Life::Ended;
        }
    }

    /// All is answered: the client is told so, and may close.
    fn close_gently(&mut self) -> Turn {
        if self.is_half_closed || self.stream.close_write().is_err() {
            self.life = Life::Ended;
            return Turn::Ended;
        }
        self.life = Life::Lingering(Instant::now() + limits::HANDSHAKE_WAIT);
        if self.can_read { Turn::Again } else { Turn::Waits }
    }

    /// The connection is over: nobody hears its answers any more.
    pub(super) fn end(mut self, context: &Context) {
        self.withdraw();
        for pending in self.pending {
            if let Pending::Fetch { fetched: Some(jobs), .. } = pending {
                give_back(&context.engine, &jobs);
            }
        }
        self.session.end(&context.shared);
        context.shared.left(self.address);
    }
}

impl Context {
    fn order(
        &self,
        to: Address,
        shard: usize,
        orders: Vec<Order>,
        promise: Promise,
    ) -> Result<(), CallError> {
        let mailbox = Arc::clone(&self.mailbox);
        let then = move |replies| mailbox.post(Letter::Ordered { to, shard, replies });
        self.engine.order_with(shard, orders, promise, then)
    }
}

/// Jobs that were fetched for a client that is gone: others get them at once.
pub(super) fn give_back(engine: &Engine, jobs: &[Fetched]) {
    for fetched in jobs {
        let (shard, job) = match fetched.key {
            Some(key) => (Some(engine.shard_of(key)), key.into()),
            None => (engine.shard_of_job(fetched.job), fetched.job.into()),
        };
        let order = Order::Finish { job, outcome: Finish::Returned };
        // If the engine ends, the lease does so by itself.
        let _ = shard.map(|shard| engine.order(shard, vec![order], drop));
    }
}

/// Appends the reply to a `FETCH`.
fn write_job(jobs: &[Fetched], out: &mut Vec<u8>) {
    let Some(job) = jobs.first() else {
        return reply::null(out);
    };
    let begin = out.len();
    let mut read = Ok(());
    reply::bulk_with(out, |out| read = job::append(job, out));
    if let Err(error) = read {
        tracing::error!(job = %job.job, "a job cannot be read from the log: {error}");
        out.truncate(begin);
        reply::error(out, "ERR", "a job cannot be read from the log");
    }
}

/// Appends the reply to a `FETCHB`.
fn write_jobs(context: &Context, jobs: &[Fetched], out: &mut Vec<u8>) {
    reply::bulk_with(out, |out| {
        let begin = out.len();
        out.push(b'[');
        for (place, job) in jobs.iter().enumerate() {
            if out.len() - begin > limits::REPLY_BYTES_MAX / 4 {
                give_back(&context.engine, &jobs[place..]);
                break;
            }
            let before = out.len();
            if before > begin + 1 {
                out.push(b',');
            }
            if let Err(error) = job::append(job, out) {
                tracing::error!(job = %job.job, "a job cannot be read from the log: {error}");
                out.truncate(before);
            }
        }
        out.push(b']');
    });
}
