//! The two loops that submit jobs: closed, which keeps the target busy, and open, which keeps to a
//! plan. They know the calls of the target and the account, and judge nothing.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    arrival::{Arrivals, Moments},
    clock::{self, Clock},
    measure::{Account, Metric, Sent},
    options::Options,
    target::{Outgoing, OutgoingDue, Target},
    workload::{Due, payload},
};

/// The longest sleep of an open loop before it looks whether the run was given up.
const LOOK_NS: u64 = 100_000_000;
/// A call that takes longer than this is the target's doing: what is late because of it is not the
/// generator's fault.
const HELD_NS: u64 = 100_000;

/// What submitters share.
pub(crate) struct Submitter {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) account: Arc<Account>,
    jobs: u32,
    batch: u32,
    seed: u64,
    arrivals: Arrivals,
    warm_up: Duration,
    /// When the herd is due, by the wall clock.
    herd_ns: u64,
    began_ns: u64,
    /// The next number of a closed loop.
    next: AtomicU32,
    /// How long calls of the target took beyond what a call takes.
    held_ns: AtomicU64,
    /// The planned moment of the last job of an open loop, from its start.
    planned_ns: AtomicU64,
    /// Set when nothing more is to be submitted.
    stop: Arc<AtomicBool>,
}

impl Submitter {
    pub(crate) fn new(
        options: &Options,
        target: Arc<dyn Target>,
        account: Arc<Account>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let herd_ns = match options.workload.due {
            Due::Herd(after) => Clock::Wall.now_ns().saturating_add(after.as_nanos() as u64),
            _ => 0,
        };
        Self {
            target,
            account,
            jobs: options.jobs,
            batch: options.batch(),
            seed: options.seed,
            arrivals: options.arrivals.clone(),
            warm_up: options.warm_up,
            herd_ns,
            began_ns: clock::mono_ns(),
            next: AtomicU32::new(0),
            held_ns: AtomicU64::new(0),
            planned_ns: AtomicU64::new(0),
            stop,
        }
    }

    /// How long the target held submitters in its calls.
    pub(crate) fn held_ns(&self) -> u64 {
        self.held_ns.load(Ordering::Relaxed)
    }

    /// How long the submitting was planned to take, as far as it came; zero in a closed loop.
    pub(crate) fn planned_ns(&self) -> u64 {
        self.planned_ns.load(Ordering::Relaxed)
    }

    /// Submits batch after batch without waiting for answers, as long as the account's gate has
    /// room. Several threads may do so side by side.
    pub(crate) fn closed_loop(&self) -> Result<(), String> {
        let warm_until_ns = self.began_ns.saturating_add(self.warm_up.as_nanos() as u64);
        while let Some(numbers) = self.take_numbers() {
            let jobs = self.compose(numbers.clone());
            let len = u64::from(numbers.end - numbers.start);
            if self.is_over() || !self.account.gate.enter(len, || self.is_over()) {
                break;
            }
            if clock::mono_ns() >= warm_until_ns {
                self.account.measure_from(numbers.start);
            }
            self.submit(numbers, jobs, Vec::new())?;
        }
        Ok(())
    }

    /// Submits each job at its planned moment or, behind time, as soon as it can; those that are
    /// due together go together, up to a batch.
    pub(crate) fn open_loop(&self, rate: f64) -> Result<(), String> {
        clock::ask_for_fine_wakeups();
        let warm_ns = self.warm_up.as_nanos() as u64;
        let t0_ns = clock::mono_ns();
        let mut moments = Moments::new(&self.arrivals, rate, self.jobs, self.seed);
        let mut next_ns = t0_ns.saturating_add(moments.next_ns());
        let mut start = 0;
        // Until when the target held this thread last.
        let mut held_until_ns = 0;
        while start < self.jobs {
            let now_ns = loop {
                if self.is_over() {
                    return Ok(());
                }
                let now_ns = clock::mono_ns();
                if now_ns >= next_ns {
                    break now_ns;
                }
                clock::sleep_until(next_ns.min(now_ns + LOOK_NS));
            };
            let mut planned_ns = Vec::with_capacity(self.batch as usize);
            let mut end = start;
            while end < self.jobs && end - start < self.batch && next_ns <= now_ns {
                if next_ns - t0_ns >= warm_ns {
                    self.account.measure_from(end);
                }
                planned_ns.push(next_ns);
                self.planned_ns.store(next_ns - t0_ns, Ordering::Relaxed);
                end += 1;
                next_ns = t0_ns.saturating_add(moments.next_ns()).max(next_ns);
            }
            let jobs = self.compose(start..end);
            // It has room for all jobs: an open loop never waits here.
            self.account.gate.enter(u64::from(end - start), || false);
            let called_ns = self.submit(start..end, jobs, planned_ns.clone())?;
            let returned_ns = clock::mono_ns();
            self.account.lanes.with(|lane| {
                for (number, planned_ns) in (start..end).zip(&planned_ns) {
                    if self.account.is_measured(number) {
                        let own_ns = called_ns.saturating_sub((*planned_ns).max(held_until_ns));
                        lane.record(Metric::Generator, own_ns);
                    }
                }
            });
            if returned_ns - called_ns > HELD_NS {
                held_until_ns = returned_ns;
            }
            start = end;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.account.is_given_up() || self.stop.load(Ordering::Relaxed)
    }

    fn take_numbers(&self) -> Option<Range<u32>> {
        let more =
            |next: u32| (next < self.jobs).then(|| next.saturating_add(self.batch).min(self.jobs));
        let start = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(start..start.saturating_add(self.batch).min(self.jobs))
    }

    /// The payloads of these jobs, one after the other, and what else each is handed over with.
    fn compose(&self, numbers: Range<u32>) -> Composed {
        let drawn: Vec<_> = numbers.clone().map(|number| self.account.traits.of(number)).collect();
        let mut payloads = vec![0; drawn.iter().map(|drawn| drawn.payload_bytes).sum()];
        let mut begin = 0;
        let drafts = numbers.zip(drawn).map(|(number, drawn)| {
            let place = begin..begin + drawn.payload_bytes;
            begin = place.end;
            payload::compose(self.seed, number, &mut payloads[place.clone()]);
            let due = match drawn.delay {
                Some(delay) => OutgoingDue::After(delay),
                None => OutgoingDue::AtWall(self.herd_ns),
            };
            Draft { place, due, tenant: drawn.tenant }
        });
        let drafts = drafts.collect();
        Composed { payloads, drafts }
    }

    /// Submits one batch. Returns the moment of the call.
    fn submit(
        &self,
        numbers: Range<u32>,
        composed: Composed,
        planned_ns: Vec<u64>,
    ) -> Result<u64, String> {
        let Composed { mut payloads, drafts } = composed;
        self.account.submitting(u64::from(numbers.end - numbers.start));
        let account = Arc::clone(&self.account);
        // Read last and before the call, so that no job can rightly be due before it.
        let called_ns = clock::mono_ns();
        let called_wall_ns = match self.account.clock {
            Clock::Mono => None,
            Clock::Wall => Some(Clock::Wall.now_ns()),
        };
        for (index, draft) in drafts.iter().enumerate() {
            let (lag_ns, due_ns) = match draft.due {
                OutgoingDue::After(delay) => {
                    let planned_ns = planned_ns.get(index).copied().unwrap_or(called_ns);
                    let now_ns = called_wall_ns.unwrap_or(called_ns);
                    let due_ns = now_ns.saturating_add(delay.as_nanos() as u64);
                    (called_ns.saturating_sub(planned_ns), due_ns)
                }
                // The instant is fixed, whenever the job is sent.
                OutgoingDue::AtWall(at_ns) => (0, at_ns),
            };
            payload::set_moments(&mut payloads[draft.place.clone()], lag_ns, due_ns);
        }
        // The jobs of a batch share one allocation.
        let payloads = Bytes::from(payloads);
        let outgoing = |draft: Draft| Outgoing {
            payload: payloads.slice(draft.place),
            due: match (draft.due, called_wall_ns) {
                // Who judges by the wall clock must tell the instant that it will judge by.
                (OutgoingDue::After(delay), Some(now_ns)) if !delay.is_zero() => {
                    OutgoingDue::AtWall(now_ns.saturating_add(delay.as_nanos() as u64))
                }
                (due, _) => due,
            },
            tenant: draft.tenant,
        };
        let jobs = drafts.into_iter().map(outgoing).collect();
        let sent = Sent { numbers, called_ns, planned_ns };
        self.target.submit(jobs, Box::new(move |reply| account.answered(&sent, reply)))?;
        let took_ns = clock::mono_ns() - called_ns;
        if took_ns > HELD_NS {
            self.held_ns.fetch_add(took_ns, Ordering::Relaxed);
        }
        Ok(called_ns)
    }
}

/// A batch before it is sent.
struct Composed {
    payloads: Vec<u8>,
    drafts: Vec<Draft>,
}

/// A job of it.
struct Draft {
    /// Where its payload lies.
    place: Range<usize>,
    due: OutgoingDue,
    tenant: u16,
}
