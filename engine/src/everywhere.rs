//! Orders that name a job by its key, where the key does not tell the shard: all shards are asked.

use std::sync::{Arc, Mutex, PoisonError};

use tickwheel_core::Changed;

use crate::{
    engine::Engine,
    error::CallError,
    worker::{Order, OrderReply},
};

/// The answers of all shards to one order.
struct Gathered<F> {
    left: usize,
    /// The one that found the job, or any.
    reply: Option<OrderReply>,
    failure: Option<CallError>,
    then: Option<F>,
}

impl Engine {
    /// Carries out an order about a job on whichever shard has it, and calls `then` once, as [`Engine::order`] does:
    /// with the answer of the shard that has the job, or with that of one that does not. It is for jobs whose batch,
    /// needs or key of uniqueness have brought them to another shard than their key says; each shard is asked.
    ///
    /// # Errors
    /// The engine takes nothing more; `then` is not called. With [`CallError::ShardClosed`] as its answer, the job may be
    /// in that shard.
    pub fn order_everywhere(
        &self,
        order: &Order,
        then: impl FnOnce(Result<OrderReply, CallError>) + Send + 'static,
    ) -> Result<(), CallError> {
        let shards = self.shards();
        let gathered = Gathered { left: shards, reply: None, failure: None, then: Some(then) };
        let gathered = Arc::new(Mutex::new(gathered));
        for shard in 0..shards {
            let part = Arc::clone(&gathered);
            let add = move |answer: Result<Vec<OrderReply>, CallError>| {
                Gathered::add(&part, answer.map(|mut replies| replies.pop()));
            };
            match self.order(shard, vec![order.clone()], add) {
                Ok(()) => {}
                Err(error @ CallError::ShardClosed(_)) => Gathered::add(&gathered, Err(error)),
                // Those that were asked before answer to nobody.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<F: FnOnce(Result<OrderReply, CallError>)> Gathered<F> {
    fn add(gathered: &Mutex<Self>, answer: Result<Option<OrderReply>, CallError>) {
        let mut state = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        state.left -= 1;
        match answer {
            Ok(Some(reply)) if state.reply.is_none() || has_found(&reply) => {
                state.reply = Some(reply);
            }
            Ok(_) => {}
            Err(error) => state.failure = Some(error),
        }
        if state.left > 0 {
            return;
        }
        let Some(then) = state.then.take() else { return };
        let (reply, failure) = (state.reply.take(), state.failure.take());
        drop(state);
        match (reply, failure) {
            (Some(reply), failure) if failure.is_none() || has_found(&reply) => then(Ok(reply)),
            (_, Some(failure)) => then(Err(failure)),
            (_, None) => then(Err(CallError::ShuttingDown)),
        }
    }
}

/// Whether the answer is of a shard that has the job.
fn has_found(reply: &OrderReply) -> bool {
    match reply {
        OrderReply::Finished(found)
        | OrderReply::Extended(found)
        | OrderReply::Cancelled(found) => *found,
        OrderReply::Changed(changed) => *changed != Changed::Absent,
        OrderReply::Looked(seen) => seen.is_some(),
        _ => true,
    }
}
