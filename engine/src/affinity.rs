//! Which processors a thread may run on.
//!
//! A thread inherits that from the one that starts it. So whatever a pinned shard starts would run
//! on the shard's own processor, and in its way. This file must not know which threads there are.

use core_affinity::CoreId;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that a thread may run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors(Option<CpuSet>);

impl Processors {
    /// Those of the calling thread. Where the system does not say, [`Processors::allow`] does
    /// nothing.
    pub(crate) fn of_this_thread() -> Self {
        Self(sched_getaffinity(None).ok())
    }

    /// Lets the calling thread run on these, whatever it has inherited.
    pub(crate) fn allow(&self) {
        if let Some(processors) = &self.0 {
            // Refused: the thread stays where it is, which is slower and not wrong.
            let _ = sched_setaffinity(None, processors);
        }
    }
}

/// Keeps the calling thread on one processor. `false`: the system refuses.
pub(crate) fn pin(core: CoreId) -> bool {
    core_affinity::set_for_current(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_a_pinned_one_gets_its_processors_back() {
        let all = Processors::of_this_thread();
        let cores = core_affinity::get_core_ids().unwrap();
        let count = |processors: Processors| processors.0.unwrap().count();
        std::thread::spawn(move || {
            assert!(pin(cores[0]));
            assert_eq!(count(Processors::of_this_thread()), 1);
            let inherited = std::thread::spawn(move || {
                let inherited = Processors::of_this_thread();
                all.allow();
                (count(inherited), count(Processors::of_this_thread()))
            });
            assert_eq!(inherited.join().unwrap(), (1, count(all)));
        })
        .join()
        .unwrap();
    }
}
