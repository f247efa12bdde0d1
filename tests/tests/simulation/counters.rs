//! What happened in the simulated worlds: the proof that the interesting cases came up.

use std::fmt;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// How often each case came up.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl Counters {
            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            pub(crate) fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    worlds
    power_cuts
    kills
    /// Logs that were closed before the process ended.
    clean_ends
    /// Cuts at an operation of a disk, in the middle of a pass or an opening.
    cuts_inside_steps
    cuts_inside_openings
    /// Cuts after a record went to a new segment that was not yet durable.
    crashes_in_a_rotation
    crashes_while_cleaning
    crashes_while_a_snapshot_is_written
    failed_openings
    failed_syncs
    /// Shards that met the failure of their log.
    failed_logs
    events
    /// Openings that lost events, none of them promised.
    events_lost
    snapshots
    snapshots_loaded
    replays_without_a_snapshot
    segments_released
    records_moved
    /// Cleaning that had to wait for room.
    cleaning_starved
    jobs_submitted
    batches
    refused_for_a_full_disk
    /// Jobs that waited until the log had made room.
    held_for_room
    refused_for_too_many_jobs
    answers_indeterminate
    attempts
    /// Ends of attempts and jobs that were told.
    ends_told
    /// Those that a replay told again.
    ends_told_again
    succeeded
    retries
    retries_after_a_crash
    dead
    /// Jobs whose last attempt was lost in a crash.
    dead_by_a_crash
    /// Jobs that came into the dead set after their last attempt.
    buried
    /// Jobs that failed for good and were not to be kept.
    dead_dropped
    /// Dead jobs that a life began with.
    dead_over_a_crash
    dead_left_by_number
    dead_left_by_age
    dead_written_again
    requeued
    /// Jobs of batches or with keys of uniqueness that came back from the dead set.
    related_requeued
    /// Such jobs that were killed by a caller.
    related_killed
    blocked_cancelled_by_a_change
    /// Jobs that were told of a death because the dead job was about to live again.
    needs_told_before_a_requeue
    discarded
    killed
    run_now
    put_off
    priorities_changed
    queues_changed
    changed_by_a_filter
    timed_out
    /// Leases that ended in the pass in which the end of their attempt arrived.
    leases_met_by_their_completion
    /// Leases that went on because the handler had begun late, or not at all.
    leases_prolonged
    /// Ends of several attempts that were written as one event.
    ended_together
    stale_completions
    completions_twice
    /// Ends of attempts from before a crash that arrived after it.
    completions_from_before_a_crash
    given_back
    postponed
    cancels_of_waiting_jobs
    cancels_of_running_jobs
    cancels_of_ended_jobs
    workers_paused
    worlds_without_executors
    /// Attempts that workers outside of the process fetched.
    fetched
    /// Attempts of such workers that were under way when a life ended, and went on in the next.
    fetched_over_a_crash
    /// Attempts that a worker was given, and whose beginning a crash lost.
    fetches_lost_in_a_crash
    /// Requests for such an attempt: all are refused.
    requests_for_a_lost_fetch
    requests_by_key
    /// Requests that named a key whose job had no attempt under way.
    requests_for_no_attempt
    requests_twice
    stale_requests
    /// Workers of which nothing was heard again.
    workers_vanished
    worker_leases_ended
    leases_extended
    rewritten_after_a_failure
    rewritten_under_way
    pauses
    resumes
    pauses_over_a_crash
    /// Comparisons that met a paused queue with jobs in it.
    ready_in_a_paused_queue
    expired
    expired_in_a_paused_queue
    needs
    needs_met
    needs_not_met
    unique_jobs
    unique_replaced
    unique_conflicts
    batches_made
    batches_over
    batches_expired
    batches_forgotten
    callbacks_complete
    callbacks_success
    callbacks_failure
    limits_set
    /// Attempts that began while shards had different limits.
    limits_on_their_way
    begun_within_a_concurrency
    concurrency_reached
    begun_within_a_rate
    /// What rates had spent, written down.
    rates_written
    refused_for_a_full_queue
    agings_set
    /// Jobs that had aged and waited while another of their queue began.
    aged_jobs_waited
    jobs_with_a_group
    /// Attempts that began in a queue while another group of it waited.
    turns_waited_for
    group_limits_set
    group_concurrency_reached
    begun_within_a_groups_rate
    group_rates_written
    refused_for_a_full_group
    /// Shards that ended and came back while the others went on.
    shards_alone
    jobs_with_a_key
    refused_for_a_held_key
    keys_held_over_a_crash
    schedules_put
    schedules_replaced
    schedules_removed
    fires
    fires_let_go
    fires_caught_up
    fires_that_waited
    fires_let_go_by_overlap
    jobs_replaced_by_their_schedule
    clock_steps_forward_while_jobs_wait
    clock_steps_back_while_jobs_wait
    suspends_while_jobs_wait
    drifts
    censuses
    /// Jobs that were due and waited when the faults ended.
    due_at_the_healing
}

impl Counters {
    /// The cases that never came up.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().into_iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}
