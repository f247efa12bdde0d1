//! How a shard sleeps: until the exact next deadline of either clock, or until it is woken.
//!
//! The poll's own timeout counts whole milliseconds, so a `timerfd` per clock is armed with the
//! absolute deadline instead, and re-armed only when that changes. A wake-up from another thread
//! writes to an eventfd only while the shard sleeps.

mod flag;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tickwheel_core::{MonoTime, WallTime};

use flag::Flag;

const WAKER: Token = Token(0);
const MONO: Token = Token(1);
const WALL: Token = Token(2);

/// The side of a shard's sleep that other threads hold.
#[derive(Debug)]
pub(crate) struct Sleeper {
    asleep: Flag,
    waker: Waker,
}

impl Sleeper {
    /// Wakes the shard if it sleeps. Call it after the message was put where the shard looks; see
    /// [`Flag`] for why that is enough.
    pub(crate) fn wake(&self) {
        if self.asleep.take() {
            // The write fails only if the eventfd's counter is full, and then the shard is awake.
            let _ = self.waker.wake();
        }
    }
}

/// What ended a sleep, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Woken {
    /// The wall clock was set.
    pub(crate) clock_set: bool,
}

/// A shard's own side of its sleep.
#[derive(Debug)]
pub(crate) struct Bed {
    poll: Poll,
    events: Events,
    mono: Timer,
    wall: Timer,
    sleeper: Arc<Sleeper>,
}

impl Bed {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mono = Timer::new(TimerfdClockId::Monotonic, TimerfdTimerFlags::ABSTIME)?;
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let wall = Timer::new(TimerfdClockId::Realtime, flags)?;
        for (timer, token) in [(&mono, MONO), (&wall, WALL)] {
            let fd = timer.fd.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let sleeper = Arc::new(Sleeper { asleep: Flag::new(), waker });
        let mut bed = Self { poll, events: Events::with_capacity(8), mono, wall, sleeper };
        // Armed even without a deadline, so that a step of the wall clock is always noticed.
        bed.wall.arm(None)?;
        Ok(bed)
    }

    pub(crate) fn sleeper(&self) -> Arc<Sleeper> {
        Arc::clone(&self.sleeper)
    }

    /// Raises the flag that makes others wake this thread. Look at every inbox once more before
    /// [`Bed::sleep`].
    pub(crate) fn lie_down(&self) {
        self.sleeper.asleep.raise();
    }

    /// Takes the flag down without sleeping.
    pub(crate) fn get_up(&self) {
        self.sleeper.asleep.lower();
    }

    /// Sleeps until one of the deadlines, or until woken.
    pub(crate) fn sleep(
        &mut self,
        mono: Option<MonoTime>,
        wall: Option<WallTime>,
    ) -> io::Result<Woken> {
        self.mono.arm(mono.map(|time| time.0))?;
        if self.wall.arm(wall.map(|time| time.0))? {
            self.get_up();
            return Ok(Woken { clock_set: true });
        }
        let polled = self.poll.poll(&mut self.events, None);
        self.get_up();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Woken::default()),
            other => other?,
        }
        let mut woken = Woken::default();
        for event in &self.events {
            match event.token() {
                MONO => {
                    self.mono.take()?;
                }
                WALL => woken.clock_set = self.wall.take()?,
                _ => {}
            }
        }
        Ok(woken)
    }
}

/// A timerfd and what it is armed for.
#[derive(Debug)]
struct Timer {
    fd: OwnedFd,
    flags: TimerfdTimerFlags,
    armed: Option<Option<u64>>,
}

impl Timer {
    fn new(clock: TimerfdClockId, flags: TimerfdTimerFlags) -> io::Result<Self> {
        let fd = timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { fd, flags, armed: None })
    }

    /// Arms it for an absolute time; without one, for the far end of the clock.
    /// `true` when the clock was set since the last look: arming takes that notice away, so that
    /// no later read would give it.
    fn arm(&mut self, at_ns: Option<u64>) -> io::Result<bool> {
        if self.armed == Some(at_ns) {
            return Ok(false);
        }
        // Zero would disarm it; one nanosecond after the clock's zero has passed as well.
        let at_ns_or_end =
            at_ns.unwrap_or(i64::MAX.cast_unsigned()).clamp(1, i64::MAX.cast_unsigned());
        let it_value = Timespec {
            tv_sec: (at_ns_or_end / 1_000_000_000).cast_signed(),
            tv_nsec: (at_ns_or_end % 1_000_000_000).cast_signed(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        match timerfd_settime(&self.fd, self.flags, &Itimerspec { it_interval, it_value }) {
            Ok(_) => {
                self.armed = Some(at_ns);
                Ok(false)
            }
            Err(Errno::CANCELED) => {
                self.armed = Some(at_ns);
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes its expiry; `true` when the clock was set.
    fn take(&mut self) -> io::Result<bool> {
        let mut count = [0; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(_) => {
                self.armed = None;
                Ok(false)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::CANCELED) => {
                self.armed = None;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn it_sleeps_until_the_deadline_of_either_clock() {
        let mut bed = Bed::new().unwrap();
        let at = clock::mono_ns() + 3_000_000;
        while clock::mono_ns() < at {
            bed.lie_down();
            bed.sleep(Some(MonoTime(at)), None).unwrap();
        }
        let at = clock::now().wall.0 + 3_000_000;
        while clock::now().wall.0 < at {
            bed.lie_down();
            bed.sleep(None, Some(WallTime(at))).unwrap();
        }
    }

    #[test]
    fn a_wake_up_ends_a_sleep_without_a_deadline() {
        let mut bed = Bed::new().unwrap();
        let sleeper = bed.sleeper();
        bed.lie_down();
        let waker = std::thread::spawn(move || sleeper.wake());
        bed.sleep(None, None).unwrap();
        waker.join().unwrap();
        assert!(!bed.sleeper.asleep.is_raised());
    }
}
