//! Batches whose jobs have keys, where there are several shards: each job goes to the shard that
//! its key says, and the answers come back as one.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tickwheel_core::{JobId, Key, Refusal};

use crate::{
    clock,
    engine::{BatchReply, Engine},
    error::{CallError, SubmitError},
    job::NewJob,
    shard::{Batch, Message},
};

/// The key that stands for a name of any length: the first half of its SHA-256.
///
/// ```
/// use tickwheel_engine::worker::key_of;
/// assert_eq!(key_of(b"invoice 7"), key_of(b"invoice 7"));
/// assert_ne!(key_of(b"invoice 7"), key_of(b"invoice 8"));
/// ```
#[must_use]
pub fn key_of(name: &[u8]) -> Key {
    let digest = Sha256::digest(name);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    Key(key)
}

/// The answers to the parts of a batch.
struct Joined<F> {
    /// By the job's place in the batch.
    answers: Vec<Option<Result<JobId, Refusal>>>,
    failure: Option<CallError>,
    /// A shard that was closed, if any was.
    closed: Option<usize>,
    /// A shard has answered.
    served: bool,
    parts_left: usize,
    then: Option<F>,
}

impl Engine {
    /// Submits jobs to the shards that their keys name; those without a key stay together.
    ///
    /// If the engine ends meanwhile, some parts may have been taken though the answer is an error.
    /// The jobs of a shard that is closed are refused, those of others are not.
    pub(crate) fn submit_by_key<F: FnOnce(BatchReply) + Send + 'static>(
        &self,
        jobs: Vec<NewJob>,
        then: F,
    ) -> Result<(), SubmitError> {
        let (len, keyless) = (jobs.len(), self.open_in_turn());
        let mut refused: Vec<(usize, Refusal)> = Vec::new();
        let mut parts: Vec<(Vec<usize>, Vec<NewJob>)> = vec![Default::default(); self.shards()];
        for (place, job) in jobs.into_iter().enumerate() {
            let shard = match self.home_of(&job) {
                Ok(shard) => shard.unwrap_or(keyless),
                Err(refusal) => {
                    refused.push((place, refusal));
                    continue;
                }
            };
            parts[shard].0.push(place);
            parts[shard].1.push(job);
        }
        let parts_left = parts.iter().filter(|(places, _)| !places.is_empty()).count();
        let mut answers = vec![None; len];
        for (place, refusal) in refused {
            answers[place] = Some(Err(refusal));
        }
        if parts_left == 0 {
            then(Ok(answers.into_iter().flatten().collect()));
            return Ok(());
        }
        let joined = Joined {
            answers,
            failure: None,
            closed: None,
            served: false,
            parts_left,
            then: Some(then),
        };
        let joined = Arc::new(Mutex::new(joined));
        let submitted_ns = clock::mono_ns();
        for (shard, (places, jobs)) in parts.into_iter().enumerate() {
            if places.is_empty() {
                continue;
            }
            let (part, refused) = (Arc::clone(&joined), places.clone());
            let on_batch = Box::new(move |answer: BatchReply| Joined::add(&part, &places, answer));
            let sent = self.send(shard, Message::Submit(Batch { jobs, on_batch, submitted_ns }));
            if let Err(error) = sent {
                // Parts that were sent are answered by their shards; this one never will be.
                Joined::add(&joined, &refused, Err(error));
            }
        }
        Ok(())
    }
}

impl<F: FnOnce(BatchReply)> Joined<F> {
    /// Takes the answer to the jobs at `places`; the last one answers the caller.
    fn add(joined: &Mutex<Self>, places: &[usize], answer: BatchReply) {
        let mut state = joined.lock().unwrap_or_else(PoisonError::into_inner);
        state.parts_left -= 1;
        match answer {
            Ok(answers) => {
                state.served = true;
                for (place, answer) in places.iter().zip(answers) {
                    state.answers[*place] = Some(answer);
                }
            }
            // Others may be open, and have taken theirs.
            Err(CallError::ShardClosed(shard)) => {
                state.closed.get_or_insert(shard);
                for place in places {
                    state.answers[*place] = Some(Err(Refusal::ShardClosed(shard)));
                }
            }
            Err(error) => state.failure = Some(error),
        }
        if state.parts_left > 0 {
            return;
        }
        let Some(then) = state.then.take() else { return };
        let answers = std::mem::take(&mut state.answers);
        let closed = state.closed.filter(|_| !state.served).map(CallError::ShardClosed);
        let reply = match state.failure.take().or(closed) {
            Some(error) => Err(error),
            None => Ok(answers.into_iter().flatten().collect()),
        };
        drop(state);
        then(reply);
    }
}
