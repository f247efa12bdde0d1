//! Tickets: an answer that is on its way, to be waited for or awaited.
//!
//! It knows no runtime: whoever polls a ticket brings the waker, and the shard that answers calls it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tickwheel_core::{JobId, Refusal};

use crate::{
    engine::Engine,
    error::{CallError, SubmitError},
    job::NewJob,
};

/// The answer to a submission, once it is there: [`Ticket::wait`] blocks for it, and `.await` does
/// not. Dropping a ticket takes nothing back: the job stays submitted.
///
/// ```
/// use tickwheel_engine::{Attempt, Engine, NewJob};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let engine = Engine::builder()
///     .data_dir(dir.path())
/// #   .segment_bytes(8 << 20)
///     .handler("note", |_: &Attempt<'_>| Ok(()))
///     .start()?;
/// // Two submissions share a sync.
/// let first = engine.submit_ticket(NewJob::new("note").payload("one"));
/// let second = engine.submit_ticket(NewJob::new("note").payload("two"));
/// let ids = (first.wait()?, second.wait()?);
/// assert_ne!(ids.0, ids.1);
/// // In an asynchronous function: `let id = engine.submit_ticket(job).await?;`
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the answer is lost with its ticket, though the job is submitted"]
pub struct Ticket<T = JobId> {
    shared: Arc<Shared<T>>,
}

/// A ticket for a whole batch: an id or a refusal for each job, in the order of the batch.
pub type BatchTicket = Ticket<Vec<Result<JobId, Refusal>>>;

#[derive(Debug)]
struct Shared<T> {
    answer: Mutex<State<T>>,
    answered: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Answered(Result<T, SubmitError>),
    Taken,
}

impl<T> Ticket<T> {
    /// A ticket, and the pen that writes its answer.
    fn new() -> (Self, Pen<T>) {
        let shared =
            Arc::new(Shared { answer: Mutex::new(State::Waiting(None)), answered: Condvar::new() });
        (Self { shared: Arc::clone(&shared) }, Pen(Some(shared)))
    }

    /// Waits until the submission is accepted or refused: with [`Durability::Sync`](crate::Durability)
    /// until it is on the disk.
    ///
    /// # Errors
    /// As for [`Engine::submit`].
    pub fn wait(self) -> Result<T, SubmitError> {
        let mut state = self.shared.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Answered(answer) => return answer,
                waiting @ State::Waiting(_) => *state = waiting,
                // Only `wait` and a poll that is ready take it; neither can be called again.
                State::Taken => return Err(CallError::ShuttingDown.into()),
            }
            state = self.shared.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the answer up to `patience`; gives the ticket back if it has not come by then.
    ///
    /// # Errors
    /// The ticket itself, to be asked again.
    pub fn wait_timeout(self, patience: Duration) -> Result<Result<T, SubmitError>, Self> {
        let until = Instant::now().checked_add(patience);
        let mut state = self.shared.lock();
        while matches!(&*state, State::Waiting(_)) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => {
                    drop(state);
                    return Err(self);
                }
                Some(left) => {
                    let woken = self.shared.answered.wait_timeout(state, left);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    let woken = self.shared.answered.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        drop(state);
        Ok(self.wait())
    }

    /// Whether the answer is there, so that [`Ticket::wait`] would not block.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&*self.shared.lock(), State::Answered(_))
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, SubmitError>;

    /// # Panics
    /// When it is polled again after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Answered(answer) => Poll::Ready(answer),
            State::Waiting(waker) => {
                let waker = match waker {
                    Some(waker) if waker.will_wake(context.waker()) => waker,
                    _ => context.waker().clone(),
                };
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
            State::Taken => panic!("a ticket was polled after its answer was taken"),
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the answer of a ticket, once. If it is dropped before, the engine has ended.
struct Pen<T>(Option<Arc<Shared<T>>>);

impl<T> Pen<T> {
    fn write(mut self, answer: Result<T, SubmitError>) {
        self.set(answer);
    }

    fn set(&mut self, answer: Result<T, SubmitError>) {
        let Some(shared) = self.0.take() else { return };
        let before = std::mem::replace(&mut *shared.lock(), State::Answered(answer));
        shared.answered.notify_all();
        // Without the lock: what a waker does is its owner's.
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Pen<T> {
    fn drop(&mut self) {
        self.set(Err(CallError::ShuttingDown.into()));
    }
}

impl Engine {
    /// Submits a job without waiting; the [`Ticket`] has the answer once it is there. Errors that
    /// are known at once are in it too. While a shard's inbox is full, the call itself waits for
    /// room.
    pub fn submit_ticket(&self, job: NewJob) -> Ticket {
        let (ticket, pen) = Ticket::new();
        self.submit_with(vec![job], pen, |mut answers| match answers.pop() {
            Some(answer) => Ok(answer?),
            None => Err(CallError::ShuttingDown.into()),
        });
        ticket
    }

    /// Submits a batch without waiting, as [`Engine::submit_batch_then`] does.
    pub fn submit_batch_ticket(&self, jobs: Vec<NewJob>) -> BatchTicket {
        let (ticket, pen) = Ticket::new();
        self.submit_with(jobs, pen, Ok);
        ticket
    }

    fn submit_with<T: Send + 'static>(
        &self,
        jobs: Vec<NewJob>,
        pen: Pen<T>,
        read: impl FnOnce(Vec<Result<JobId, Refusal>>) -> Result<T, SubmitError> + Send + 'static,
    ) {
        // Whoever does not call the one half leaves the pen to the other.
        let pen = Arc::new(Mutex::new(Some(pen)));
        let take =
            |pen: &Mutex<Option<Pen<T>>>| pen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let by_shard = Arc::clone(&pen);
        let submitted = self.submit_batch_then(jobs, move |answers| {
            if let Some(pen) = take(&by_shard) {
                pen.write(answers.map_err(SubmitError::from).and_then(read));
            }
        });
        if let Err(error) = submitted
            && let Some(pen) = take(&pen)
        {
            pen.write(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        task::Wake,
        thread,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_task_that_polled_is_woken_once_and_then_has_the_answer() {
        let (ticket, pen) = Ticket::<u32>::new();
        let mut ticket = Box::pin(ticket);
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for count in [&first, &second, &second] {
            let waker = Waker::from(Arc::clone(count));
            assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        pen.write(Ok(7));
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(ticket.as_mut().poll(&mut context), Poll::Ready(Ok(7)));
    }

    #[test]
    fn who_waits_learns_that_nobody_will_answer() {
        let (ticket, pen) = Ticket::<u32>::new();
        let ticket = ticket.wait_timeout(Duration::ZERO).unwrap_err();
        assert!(!ticket.is_ready());
        let waits = thread::spawn(|| ticket.wait());
        drop(pen);
        assert_eq!(waits.join().unwrap(), Err(SubmitError::Call(CallError::ShuttingDown)));
    }
}
