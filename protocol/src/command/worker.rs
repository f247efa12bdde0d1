//! `WORKER` commands: who is connected, and what is asked of them at their next sign of life.

use super::{RequestError, nothing, split, word};

/// A `WORKER` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCommand<'a> {
    /// All workers that were heard of lately.
    List,
    /// This worker is to fetch no more; `None` is all workers.
    Quiet(Option<&'a str>),
    /// This worker is to end; `None` is all workers.
    Terminate(Option<&'a str>),
}

pub(super) fn worker(args: &str) -> Result<WorkerCommand<'_>, RequestError> {
    let (verb, args) = split(args);
    let one_or_all = |command| match args {
        "*" => Ok(None),
        args => word(command, "wid", args).map(Some),
    };
    match verb {
        "LIST" => nothing("WORKER LIST", args).map(|()| WorkerCommand::List),
        "QUIET" => one_or_all("WORKER QUIET").map(WorkerCommand::Quiet),
        "TERMINATE" => one_or_all("WORKER TERMINATE").map(WorkerCommand::Terminate),
        _ => Err(RequestError::Usage {
            command: "WORKER",
            usage: "LIST, or QUIET or TERMINATE with a worker's id or *",
        }),
    }
}
