//! The atomics, locks and threads that the crate shares, in one place.
//!
//! Every other file takes them from here, so that the model checker loom can stand in for the
//! standard library: with `--cfg loom` the types are loom's. This file must hold re-exports, the
//! one way to lock, and the smallest stand-ins for what loom lacks; nothing else.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use stand_in::OnceLock;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
#[cfg(not(loom))]
pub(crate) use std::thread;
// A pointer to a trait object: loom's own cannot be one. What it counts is not modelled.
pub(crate) use std::sync::{Arc, PoisonError};

/// Locks `mutex`, also when a thread panicked while it held the lock.
///
/// The data behind the crate's locks is changed in single steps (push, pop, replace), so it is
/// whole even then.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(loom)]
mod stand_in {
    //! What loom lacks, made of what it has.

    use super::{AtomicBool, Ordering};

    /// A value that is set once. The order between setting and seeing it is modelled; two who set
    /// it at the same time are not.
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false) }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
        }

        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            let value = self.value.get_or_init(init);
            self.is_set.store(true, Ordering::Release);
            value
        }
    }
}

/// Threads, with loom's scheduler behind them.
///
/// Loom's own `unpark` is no step by itself, orders memory also for a thread that never parks, and
/// wakes one that waits for something else. Here the token has a lock: others can come between
/// what is published and the wake-up, and only who takes the token sees what came before it.
#[cfg(loom)]
pub(crate) mod thread {
    use std::cell::RefCell;
    use std::io;
    use std::time::Duration;

    use loom::sync::Condvar;

    use super::{Arc, Mutex, lock};

    pub(crate) use loom::thread::yield_now;
    pub(crate) use std::thread::{available_parallelism, sleep};

    /// Loom's own choice is too small for an opening.
    const STACK_WORDS: usize = 64 << 10;

    loom::thread_local! {
        static CURRENT: RefCell<Thread> = RefCell::new(Thread::new());
    }

    /// A thread, as far as it can be woken.
    #[derive(Clone)]
    pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

    impl Thread {
        fn new() -> Self {
            Thread(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(crate) fn unpark(&self) {
            let (token, given) = &*self.0;
            *lock(token) = true;
            given.notify_one();
        }
    }

    pub(crate) fn current() -> Thread {
        CURRENT.with(|current| current.borrow().clone())
    }

    pub(crate) fn park() {
        let (token, given) = &*current().0;
        let mut token = lock(token);
        while !*token {
            token = given.wait(token).unwrap_or_else(super::PoisonError::into_inner);
        }
        *token = false;
    }

    /// The time is over at once.
    pub(crate) fn park_timeout(_: Duration) {
        *lock(&current().0.0) = false;
        yield_now();
    }

    pub(crate) struct Builder(loom::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Builder(loom::thread::Builder::new().stack_size(STACK_WORDS))
        }

        pub(crate) fn name(self, name: String) -> Self {
            Builder(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            body: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let thread = Thread::new();
            let child = thread.clone();
            let inner = self.0.spawn(move || {
                CURRENT.with(|current| current.replace(child));
                body()
            })?;
            Ok(JoinHandle { inner, thread })
        }
    }

    pub(crate) struct JoinHandle<T> {
        inner: loom::thread::JoinHandle<T>,
        thread: Thread,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn thread(&self) -> &Thread {
            &self.thread
        }

        pub(crate) fn join(self) -> std::thread::Result<T> {
            self.inner.join()
        }
    }

    /// Threads that share nothing but their results run one after the other.
    pub(crate) struct Scope;

    impl Scope {
        pub(crate) fn spawn(&self, body: impl FnOnce()) {
            body();
        }
    }

    pub(crate) fn scope<R>(body: impl FnOnce(&Scope) -> R) -> R {
        body(&Scope)
    }
}
