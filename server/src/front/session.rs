//! What each command means. It must not know sockets, nor when replies are written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tickwheel_engine::worker::{Fetch, Order};
use tickwheel_protocol::{
    Beat, Challenge, Command, Greeting, Hello, Limits, QueueCommand, TrackCommand, reply,
};

use super::{
    connection::Context,
    fails::Fails,
    info,
    job::Terms,
    limits,
    round::Round,
    shared::{Phase, Shared},
};

/// What a connection has said about itself.
#[derive(Debug)]
pub(super) struct Session {
    stage: Stage,
    wid: Option<Box<str>>,
}

#[derive(Debug)]
enum Stage {
    Handshake { challenge: Option<Challenge<'static>>, deadline: Instant },
    Open,
}

/// What follows a command.
#[derive(Debug)]
pub(super) enum Flow {
    /// The next one.
    Goes,
    /// A wait for jobs; whether they were asked for by `FETCHB`.
    Fetch(Fetch, bool),
    /// The end of the connection.
    Ends,
}

impl Session {
    /// A new connection; the greeting is appended to `out`.
    pub(super) fn new(shared: &Shared, out: &mut Vec<u8>) -> Self {
        let challenge = shared
            .password
            .as_ref()
            .map(|_| Challenge { rounds: limits::HASH_ROUNDS, salt: salt().into() });
        Greeting { challenge: challenge.clone(), is_tickwheel: true }.write(out);
        let deadline = Instant::now() + limits::HANDSHAKE_WAIT;
        Self { stage: Stage::Handshake { challenge, deadline }, wid: None }
    }

    /// What a request may hold now.
    pub(super) fn limits(&self) -> &'static Limits {
        match self.stage {
            Stage::Handshake { .. } => &Limits::HANDSHAKE,
            Stage::Open => &limits::REQUEST,
        }
    }

    /// When the handshake must be done, if it is not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Handshake { deadline, .. } => Some(deadline),
            Stage::Open => None,
        }
    }

    /// Whether a command reports failures: those that follow each other are recorded together.
    pub(super) fn is_failure(command: &Command<'_>) -> bool {
        matches!(command, Command::Fail(_) | Command::FailBatch(_))
    }

    /// Carries out a command: it goes into `round` or `fails`, or says what else follows.
    pub(super) fn take(
        &mut self,
        context: &Context,
        command: Command<'_>,
        terms: Terms,
        round: &mut Round,
        fails: &mut Fails,
    ) -> Flow {
        if let Stage::Handshake { challenge, .. } = &self.stage {
            let Command::Hello(hello) = &command else {
                round.refuse("say HELLO first");
                return Flow::Ends;
            };
            if !knows_password(&context.shared, challenge.as_ref(), hello) {
                round.refuse("Invalid password");
                return Flow::Ends;
            }
            self.stage = Stage::Open;
            self.wid = hello.identity.wid.as_deref().map(Box::from);
            context.shared.workers.connected(&hello.identity);
            round.text(reply::ok);
            return Flow::Goes;
        }
        let engine = &context.engine;
        match command {
            Command::Push(job) => round.push(engine, &job, terms),
            Command::PushBatch(batch) => round.push_batch(engine, &batch, terms),
            Command::Fetch(queues) => {
                let queues = queues.iter().map(Box::from).collect();
                return fetch(context, queues, 1, limits::FETCH_WAIT, false);
            }
            Command::FetchBatch(batch) => {
                let queues = batch.queues.iter().map(|queue| Box::from(&**queue)).collect();
                let max = batch.count_max.min(limits::FETCH_JOBS_MAX as usize) as u32;
                let wait = Duration::from_millis(batch.wait_ms.into());
                return fetch(context, queues, max, wait, true);
            }
            Command::Ack(jid) => round.ack(engine, &jid),
            Command::AckBatch(jids) => round.ack_batch(engine, &jids),
            Command::Fail(report) => fails.add(engine, report),
            Command::FailBatch(batch) => fails.add_batch(engine, batch.reports),
            Command::Extend(extend) => {
                let span = Duration::from_secs(extend.seconds.into());
                round.change(engine, &extend.jid, |key| Order::Extend { key, span });
            }
            Command::Cancel(jid) => round.change(engine, &jid, |key| Order::Cancel { key }),
            Command::Beat(worker) => beat(&context.shared, &worker, round),
            Command::Info => match info::report(engine, &context.shared) {
                Ok(report) => round.text(|out| reply::bulk(out, &report)),
                Err(error) => round.refuse(error),
            },
            Command::Queue(command) => queue(context, &command, round),
            Command::Track(TrackCommand::Get(jid)) => round.track(engine, jid),
            Command::End => return Flow::Ends,
            Command::Hello(_) => round.refuse("HELLO was said already"),
            other => round.refuse(format_args!("{} is not supported yet", name(&other))),
        }
        Flow::Goes
    }

    /// The connection has ended.
    pub(super) fn end(&self, shared: &Shared) {
        if let Some(wid) = &self.wid {
            shared.workers.disconnected(wid);
        }
    }
}

fn knows_password(shared: &Shared, challenge: Option<&Challenge<'_>>, hello: &Hello<'_>) -> bool {
    match (&shared.password, challenge) {
        (Some(password), Some(challenge)) => {
            challenge.is_met(password, hello.password_hash.as_ref(), hello.version)
        }
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// Random letters and digits, anew for each connection.
fn salt() -> String {
    let mut bytes = [0_u8; 8];
    // It does not block once the machine has started, and eight bytes come at once or not at all.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) != Ok(8) {
        // The address of a fresh allocation and the time differ too; a guess of them only allows to
        // prepare a list of hashes in advance.
        let place = Box::new(0_u8);
        let nanos = Instant::now().elapsed().as_nanos() as u64 ^ (&raw const *place).addr() as u64;
        bytes = nanos.to_le_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fetch(
    context: &Context,
    queues: Arc<[Box<str>]>,
    max: u32,
    wait: Duration,
    is_batch: bool,
) -> Flow {
    // While the server ends a worker waits as for any FETCH, and gets nothing.
    let (queues, wait) = match context.shared.phase() {
        Phase::Open => (queues, wait),
        _ => (Arc::default(), wait.min(limits::FETCH_WAIT)),
    };
    Flow::Fetch(Fetch { queues, max, wait }, is_batch)
}

fn beat(shared: &Shared, worker: &Beat<'_>, round: &mut Round) {
    if !shared.workers.beat(worker) {
        round.refuse(format_args!("Unknown worker {}", worker.wid));
    } else if shared.phase() == Phase::Open {
        round.text(reply::ok);
    } else {
        round.text(|out| reply::bulk(out, br#"{"state":"quiet"}"#));
    }
}

fn queue(context: &Context, command: &QueueCommand<'_>, round: &mut Round) {
    let engine = &context.engine;
    let (names, is_paused) = match command {
        QueueCommand::Pause(names) => (names, true),
        QueueCommand::Resume(names) => (names, false),
        QueueCommand::Remove(_) => return round.refuse("QUEUE REMOVE is not supported yet"),
        QueueCommand::Latency(_) => return round.refuse("QUEUE LATENCY is not supported yet"),
    };
    let pause = |name: &str| engine.pause_queue(name, is_paused).map(drop);
    let done = match names {
        Some(names) => names.iter().try_for_each(pause),
        None => engine.queues().and_then(|queues| {
            queues.iter().filter(|q| !info::is_own(&q.name)).try_for_each(|q| pause(&q.name))
        }),
    };
    match done {
        Ok(()) => round.text(reply::ok),
        Err(error) => round.refuse(error),
    }
}

/// The verb of a command that cannot be carried out.
fn name(command: &Command<'_>) -> &'static str {
    match command {
        Command::Flush => "FLUSH",
        Command::Mutate(_) => "MUTATE",
        Command::Track(_) => "TRACK SET",
        Command::Batch(_) => "BATCH",
        Command::Cron(_) => "CRON",
        _ => "this command",
    }
}
