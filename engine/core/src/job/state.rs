//! The states of a job, and the only table of changes between them.

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// Waits for other jobs.
    Blocked,
    /// Waits for its due time.
    Scheduled,
    /// Due, waits for an executor.
    Ready,
    /// An attempt is under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Withdrawn by a caller.
    Cancelled,
    /// Failed for good.
    Dead,
    /// Not run in the time it was worth running.
    Expired,
}

impl JobState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Blocked,
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Succeeded,
        Self::Cancelled,
        Self::Dead,
        Self::Expired,
    ];

    /// Whether a job may go from this state to `next`.
    ///
    /// ```
    /// use tickwheel_core::JobState::{Ready, Running, Scheduled, Succeeded};
    /// assert!(Running.may_become(Scheduled)); // a retry
    /// assert!(!Ready.may_become(Succeeded)); // it has to run first
    /// ```
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use JobState::{Blocked, Cancelled, Dead, Expired, Ready, Running, Scheduled, Succeeded};
        match self {
            Blocked => matches!(next, Scheduled | Cancelled | Dead | Expired),
            Scheduled => matches!(next, Ready | Cancelled | Dead | Expired),
            Ready => matches!(next, Running | Scheduled | Cancelled | Dead | Expired),
            Running => matches!(next, Succeeded | Scheduled | Cancelled | Dead | Expired),
            // Brought back by a caller.
            Dead => matches!(next, Scheduled),
            Succeeded | Cancelled | Expired => false,
        }
    }

    /// Whether the job is over: no state follows, but for a dead job that a caller brings back.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cancelled | Self::Dead | Self::Expired)
    }

    /// The word used in logs, metrics and pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }
}

impl core::fmt::Display for JobState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::JobState::{self, *};

    /// The whole table, written out once more as allowed pairs: any other pair is refused.
    #[test]
    fn every_pair_of_states_is_as_designed() {
        let allowed = [
            (Blocked, Scheduled),
            (Blocked, Cancelled),
            (Blocked, Dead),
            (Blocked, Expired),
            (Scheduled, Ready),
            (Scheduled, Cancelled),
            (Scheduled, Dead),
            (Scheduled, Expired),
            (Ready, Running),
            (Ready, Scheduled),
            (Ready, Cancelled),
            (Ready, Dead),
            (Ready, Expired),
            (Running, Succeeded),
            (Running, Scheduled),
            (Running, Cancelled),
            (Running, Dead),
            (Running, Expired),
            (Dead, Scheduled),
        ];
        let mut pairs = 0;
        for from in JobState::ALL {
            for to in JobState::ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from} → {to}");
                pairs += 1;
            }
        }
        assert_eq!(pairs, 64);
    }

    #[test]
    fn an_end_is_a_state_without_a_successor_but_for_the_dead() {
        for state in JobState::ALL {
            let successors = JobState::ALL.iter().filter(|next| state.may_become(**next)).count();
            let is_over = successors == 0 || state == Dead;
            assert_eq!(state.is_end(), is_over, "{state}");
        }
    }
}
