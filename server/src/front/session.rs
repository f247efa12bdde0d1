//! What each command means. It must not know sockets, nor when replies are written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tickwheel_engine::worker::{Fetch, Order};
use tickwheel_protocol::{
    Beat, Challenge, Command, Greeting, Hello, Limits, Password, TrackCommand, reply,
};

use super::{
    connection::Context,
    control,
    fails::Fails,
    job::Terms,
    limits,
    round::Round,
    shared::{Phase, Shared},
    workers::{Wish, Worker},
};

/// What a connection has said about itself.
#[derive(Debug)]
pub(super) struct Session {
    stage: Stage,
    worker: Option<Arc<Worker>>,
}

#[derive(Debug)]
enum Stage {
    /// What was asked of the client, and the password that was right when it connected.
    Handshake {
        secret: Option<(Challenge<'static>, Password)>,
        deadline: Instant,
    },
    Open,
}

/// What follows a command.
#[derive(Debug)]
pub(super) enum Flow {
    /// The next one.
    Goes,
    /// A wait for jobs; whether they were asked for by `FETCHB`.
    Fetch(Fetch, bool),
    /// A wait for the control thread, which gets the command's line.
    Control,
    /// The end of the connection.
    Ends,
}

impl Session {
    /// A new connection; the greeting is appended to `out`.
    pub(super) fn new(shared: &Shared, out: &mut Vec<u8>) -> Self {
        let secret = shared.password().map(|password| {
            (Challenge { rounds: limits::HASH_ROUNDS, salt: salt().into() }, password)
        });
        let challenge = secret.as_ref().map(|(challenge, _)| challenge.clone());
        Greeting { challenge, is_tickwheel: true }.write(out);
        let deadline = Instant::now() + limits::HANDSHAKE_WAIT;
        Self { stage: Stage::Handshake { secret, deadline }, worker: None }
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
        if let Stage::Handshake { secret, .. } = &self.stage {
            let Command::Hello(hello) = &command else {
                round.refuse("say HELLO first");
                return Flow::Ends;
            };
            if !knows_password(secret.as_ref(), hello) {
                round.refuse("Invalid password");
                return Flow::Ends;
            }
            self.stage = Stage::Open;
            self.worker = context.shared.workers.connected(&hello.identity, terms.now);
            round.text(reply::ok);
            return Flow::Goes;
        }
        if control::takes(&command) {
            return Flow::Control;
        }
        let (engine, tracks) = (&context.engine, &context.shared.tracks);
        match command {
            Command::Push(job) => {
                if job.custom.track {
                    tracks.begin(&job.jid, terms.now);
                }
                round.push(engine, &job, terms);
            }
            Command::PushBatch(batch) => {
                for job in batch.jobs.iter().flatten().filter(|job| job.custom.track) {
                    tracks.begin(&job.jid, terms.now);
                }
                round.push_batch(engine, &batch, terms);
            }
            Command::Fetch(queues) => {
                let queues = queues.iter().map(Box::from).collect();
                return self.fetch(context, queues, 1, limits::FETCH_WAIT, false);
            }
            Command::FetchBatch(batch) => {
                let queues = batch.queues.iter().map(|queue| Box::from(&**queue)).collect();
                let max = batch.count_max.min(limits::FETCH_JOBS_MAX as usize) as u32;
                let wait = Duration::from_millis(batch.wait_ms.into());
                return self.fetch(context, queues, max, wait, true);
            }
            Command::Ack(jid) => round.ack(engine, tracks, &jid),
            Command::AckBatch(jids) => round.ack_batch(engine, tracks, &jids),
            Command::Fail(report) => fails.add(engine, report),
            Command::FailBatch(batch) => fails.add_batch(engine, batch.reports),
            Command::Extend(extend) => {
                let span = Duration::from_secs(extend.seconds.into());
                round.change(engine, &extend.jid, |job| Order::Extend { job, span });
            }
            Command::Cancel(jid) => round.change(engine, &jid, |job| Order::Cancel { job }),
            Command::Beat(worker) => beat(&context.shared, &worker, round),
            Command::Track(TrackCommand::Get(jid)) => round.track(engine, jid),
            Command::Track(TrackCommand::Set(set)) => round.progress(engine, &set, terms.now),
            Command::End => return Flow::Ends,
            Command::Hello(_) => round.refuse("HELLO was said already"),
            // The others were left to the thread for controls.
            _ => round.refuse("this command is not supported yet"),
        }
        Flow::Goes
    }

    fn fetch(
        &self,
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
        let worker = self.worker.as_ref().map(|worker| worker.load());
        Flow::Fetch(Fetch { queues, max, wait, worker }, is_batch)
    }

    /// The connection has ended.
    pub(super) fn end(&self, shared: &Shared) {
        if let Some(worker) = &self.worker {
            shared.workers.disconnected(worker);
        }
    }
}

fn knows_password(secret: Option<&(Challenge<'_>, Password)>, hello: &Hello<'_>) -> bool {
    secret.is_none_or(|(challenge, password)| {
        challenge.is_met(password, hello.password_hash.as_ref(), hello.version)
    })
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

fn beat(shared: &Shared, worker: &Beat<'_>, round: &mut Round) {
    match shared.workers.beat(worker, shared.phase() != Phase::Open) {
        None => round.refuse(format_args!("Unknown worker {}", worker.wid)),
        Some(Wish::Nothing) => round.text(reply::ok),
        Some(wish) => {
            let state = format!(r#"{{"state":"{}"}}"#, wish.text());
            round.text(|out| reply::bulk(out, state.as_bytes()));
        }
    }
}
