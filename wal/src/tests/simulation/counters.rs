//! What happened in the simulated lives: the proof that the interesting cases came up.

use std::fmt;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// How often each case came up.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Counters {
            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            pub(super) fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Power cuts and kills: the crash points.
    crash_points
    power_cuts
    kills
    /// Power cuts that found changes in the cache.
    power_cuts_with_loss
    /// Power cuts that found names that were not on the disk.
    power_cuts_with_names
    /// Cuts at an operation in the middle of a step.
    cuts_inside_steps
    cuts_inside_openings
    cuts_inside_preparations
    /// Cuts while released segments were put away, or made into new ones.
    cuts_inside_releases
    cuts_inside_snapshots
    cuts_inside_syncs
    cuts_inside_closings
    cuts_while_wiping
    /// Cuts after a record went to a new segment that was not yet synced.
    cuts_after_rotation
    /// Openings that found a torn tail.
    torn_tails
    /// Openings after which records that were never acknowledged are gone.
    lost_unacked
    /// Openings that brought records back that were never acknowledged.
    kept_unacked
    /// Records on the disk whose segment header did not get there.
    lost_headers
    /// Segments of which one copy of the header did not get there.
    half_headers
    /// Files shorter than a segment after a cut.
    unfinished_files
    /// Openings that used the last segment again, with a higher epoch.
    reused_epochs
    /// Openings that failed at an operation and were tried again.
    failed_openings
    clean_shutdowns
    failed_syncs
    /// Steps on a log that a failed sync had stopped.
    steps_while_poisoned
    failed_preparations
    evictions
    refused_for_space
    /// Appends refused because the disk was full.
    appends_without_space
    /// Appends refused because no segment was ready.
    appends_without_segment
    idle_marks
    /// Openings refused because of an unreadable sector.
    unreadable
    flips
    /// Flips that made the opening refuse the log.
    flips_refused
    /// Flips below the highest mark that was durable.
    flips_below_mark
    /// Flips after which the log opened with all that had to be there.
    flips_harmless
    flips_in_snapshots
    releases
    /// Releases that became durable.
    risen_heads
    /// Released segments that were used again under another number.
    recycled_segments
    reserved_appends
    /// Snapshots that were finished.
    snapshots
    failed_snapshots
    snapshots_used
    /// Openings from a snapshot that is older than the head: its records are still there.
    snapshots_below_head
    /// Snapshots, and drafts of them, that were there after a cut.
    snapshots_survived
    drafts
    records_checked
}

impl Counters {
    /// The cases that never came up.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().into_iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}
