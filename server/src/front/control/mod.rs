//! Commands that ask the whole engine, or that wait for it: they are carried out one after the other on
//! a thread of their own, so that an I/O thread never waits. Here is the thread and what each command
//! leads to; schedules are in `cron`, queues in `queues`, changes to many jobs in
//! `mutate`, batches in `batch`.

mod batch;
mod cron;
mod mutate;
mod queues;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use tickwheel_engine::{
    CallError, Engine,
    worker::{Order, OrderReply},
};
use tickwheel_protocol::{Command, WorkerCommand, reply};

use super::{
    info, limits,
    mailbox::{Address, Letter, Mailbox},
    shared::Shared,
    workers::Wish,
};

/// Where commands are left for the thread. When the last of these is dropped it ends.
#[derive(Clone, Debug)]
pub(super) struct Controls {
    tasks: Sender<Task>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A command that waits for its turn. A connection has one at the most, so their number is bounded
/// by that of the connections, and their length by the sum kept here.
#[derive(Debug)]
struct Task {
    to: Address,
    mailbox: Arc<Mailbox>,
    line: Vec<u8>,
}

impl Controls {
    /// Starts the thread.
    pub(super) fn start(
        engine: Arc<Engine>,
        shared: Arc<Shared>,
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let (tasks, receiver) = unbounded();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&waiting_bytes);
        let run = move || run(&engine, &shared, &receiver, &waiting);
        let thread = thread::Builder::new().name("tw-control".to_owned()).spawn(run)?;
        Ok((Self { tasks, waiting_bytes }, thread))
    }

    /// Leaves a command, as its line; the reply comes as a letter. False if too much waits already.
    pub(super) fn leave(&self, to: Address, mailbox: &Arc<Mailbox>, line: &[u8]) -> bool {
        let before = self.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() > limits::CONTROL_BYTES_MAX {
            self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            return false;
        }
        let task = Task { to, mailbox: Arc::clone(mailbox), line: line.to_vec() };
        self.tasks.send(task).is_ok()
    }
}

fn run(engine: &Engine, shared: &Shared, tasks: &Receiver<Task>, waiting_bytes: &AtomicUsize) {
    for Task { to, mailbox, line } in tasks {
        let mut reply = Vec::new();
        // The next client must be served whatever this one has done.
        let carried = catch_unwind(AssertUnwindSafe(|| {
            carry_out(engine, shared, &line, &mut reply);
        }));
        if carried.is_err() {
            tracing::error!("a command of a client made a thread panic");
            reply.clear();
            reply::error(&mut reply, "ERR", "the server could not carry this out; see its log");
        }
        waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        mailbox.post(Letter::Controlled { to, reply });
    }
}

/// Whether a command is carried out here.
pub(super) fn takes(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::Info
            | Command::Queue(_)
            | Command::Cron(_)
            | Command::Worker(_)
            | Command::Mutate(_)
            | Command::Flush
            | Command::Batch(_)
    )
}

/// Carries out a command, given as its line, and appends the reply.
fn carry_out(engine: &Engine, shared: &Shared, line: &[u8], out: &mut Vec<u8>) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match Command::parse(line, &limits::REQUEST) {
        Ok(Command::Info) => match info::report(engine, shared) {
            Ok(report) => reply::bulk(out, &report),
            Err(error) => reply::error(out, "ERR", error),
        },
        Ok(Command::Queue(command)) => queues::carry_out(engine, shared, &command, out),
        Ok(Command::Cron(command)) => cron::carry_out(engine, shared, &command, out),
        Ok(Command::Worker(command)) => worker(shared, command, out),
        Ok(Command::Batch(command)) => batch::carry_out(engine, shared, &command, out),
        Ok(Command::Mutate(mutation)) => done(out, mutate::mutate(engine, shared, &mutation)),
        Ok(Command::Flush) if shared.allow_flush => done(out, mutate::flush(engine, shared)),
        Ok(Command::Flush) => {
            reply::error(out, "ERR", "FLUSH is not allowed by the configuration");
        }
        Ok(_) => reply::error(out, "ERR", "this command is not supported yet"),
        // It was read once already.
        Err(error) => reply::error(out, "ERR", error),
    }
}

fn worker(shared: &Shared, command: WorkerCommand<'_>, out: &mut Vec<u8>) {
    let (wid, wish) = match command {
        WorkerCommand::List => {
            let list = shared.workers.list();
            return reply::bulk_with(out, |out| {
                // Numbers and texts always become JSON, and memory takes all of it.
                let _ = serde_json::to_writer(out, &list);
            });
        }
        WorkerCommand::Quiet(wid) => (wid, Wish::Quiet),
        WorkerCommand::Terminate(wid) => (wid, Wish::Terminate),
    };
    if shared.workers.ask(wid, wish) {
        reply::ok(out);
    } else {
        reply::error(out, "ERR", format_args!("Unknown worker {}", wid.unwrap_or_default()));
    }
}

/// Gives orders to a shard and waits until they are durable.
fn order(engine: &Engine, shard: usize, orders: Vec<Order>) -> Result<Vec<OrderReply>, CallError> {
    let (reply, answer) = crossbeam::channel::bounded(1);
    engine.order(shard, orders, move |replies| {
        // Nobody waits any more if this fails.
        let _ = reply.send(replies);
    })?;
    answer.recv().unwrap_or(Err(CallError::ShuttingDown))
}

/// Replies with `+OK`, or with why not.
fn done(out: &mut Vec<u8>, done: Result<(), impl std::fmt::Display>) {
    match done {
        Ok(()) => reply::ok(out),
        Err(error) => reply::error(out, "ERR", error),
    }
}
