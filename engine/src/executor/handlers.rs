//! The handlers of an engine, by kind. Fixed when the engine starts.

use std::{collections::HashMap, sync::Arc};

use super::{
    Attempt, JobError,
    task::{AsyncAttempt, HandlerFuture, Spawn},
};

/// Code for a kind.
pub(crate) enum Handler {
    /// It runs on the executor's thread.
    Call(Box<Call>),
    /// It makes a future, which runs elsewhere.
    Spawn { make: Box<Make>, on: Box<dyn Spawn> },
}

type Call = dyn Fn(&Attempt<'_>) -> Result<(), JobError> + Send + Sync;
type Make = dyn Fn(AsyncAttempt) -> HandlerFuture + Send + Sync;

/// Code for jobs of a kind, as a type of its own: see [`Builder::handle`](crate::Builder::handle).
pub trait Handle: Send + Sync + 'static {
    /// Runs one attempt, on an executor's thread, several at a time; a panic ends the attempt only.
    ///
    /// # Errors
    /// Why the attempt did not succeed, and whether a retry may help.
    fn handle(&self, attempt: &Attempt<'_>) -> Result<(), JobError>;
}

/// All handlers, by number and by kind.
#[derive(Default)]
pub(crate) struct Handlers {
    handlers: Vec<(Arc<str>, Handler)>,
    kinds: HashMap<String, u32>,
}

impl Handlers {
    /// Adds a handler; `false` when the kind has one already.
    pub(crate) fn add(&mut self, kind: String, handler: Handler) -> bool {
        let number = self.handlers.len() as u32;
        if self.kinds.contains_key(&kind) {
            return false;
        }
        self.handlers.push((kind.as_str().into(), handler));
        self.kinds.insert(kind, number);
        true
    }

    pub(crate) fn find(&self, kind: &str) -> Option<u32> {
        self.kinds.get(kind).copied()
    }

    /// The kind of a handler, and the handler.
    pub(super) fn get(&self, number: u32) -> Option<(&Arc<str>, &Handler)> {
        self.handlers.get(number as usize).map(|(kind, handler)| (kind, handler))
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
