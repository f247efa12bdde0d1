//! Walks the calendar of all schedules and counts triggers by the second. Schedules that fire at the same
//! times are walked once.

use std::{collections::HashMap, time::Duration};

use tickwheel_engine::cron::{Cron, jitter_ns};

use super::calendar::{Scheduled, Timing};

const SECOND_NS: i64 = 1_000_000_000;
/// A schedule's jitter is at most this part of its shortest gap, so that its fires keep their order and
/// about their distance.
const GAP_PART: u64 = 4;

/// A span of time in whole seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from_s: i64,
    pub(super) len_s: u64,
}

/// Schedules that fire at the same times.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    timing: &'a Timing,
    /// Their names, which decide their jitter.
    members: Vec<&'a str>,
}

/// Gathers schedules that fire at the same times.
pub(super) fn groups(schedules: &[Scheduled]) -> Vec<Group<'_>> {
    let mut places: HashMap<[String; 3], usize> = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for schedule in schedules {
        let key = match &schedule.timing {
            // The name counts where the rule draws from it.
            Timing::Cron(cron) => {
                [cron.source(), cron.zone_name(), cron.name().unwrap_or_default()]
                    .map(str::to_owned)
            }
            Timing::Every(every) => [format!("{every:?}"), String::new(), String::new()],
        };
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group { timing: &schedule.timing, members: Vec::new() });
            groups.len() - 1
        });
        groups[place].members.push(&schedule.name);
    }
    groups
}

/// Triggers in each second of the span, with a jitter of at most `jitter_max` for each schedule.
pub(super) fn walk(groups: &[Group<'_>], span: Span, jitter_max: Duration) -> Vec<u32> {
    let mut counts = vec![0_u32; usize::try_from(span.len_s).unwrap_or(usize::MAX)];
    for group in groups {
        match group.timing {
            Timing::Cron(cron) => walk_cron(cron, group, span, jitter_max, &mut counts),
            Timing::Every(every) => walk_every(*every, group, jitter_max, &mut counts),
        }
    }
    counts
}

fn walk_cron(cron: &Cron, group: &Group<'_>, span: Span, jitter_max: Duration, counts: &mut [u32]) {
    let start_ns = span.from_s.saturating_mul(SECOND_NS).saturating_sub(1);
    let end_s = span.from_s.saturating_add_unsigned(span.len_s);
    let window_s = if jitter_max.is_zero() {
        0
    } else {
        let fires: Vec<i64> = cron.upcoming(start_ns).take(GAPS_LOOKED_AT).collect();
        let gaps = fires.windows(2).map(|pair| ((pair[1] - pair[0]) / SECOND_NS).unsigned_abs());
        window_s(gaps.min().unwrap_or(u64::MAX), jitter_max)
    };
    let offsets = offsets(&group.members, window_s);
    for fire_ns in cron.upcoming(start_ns) {
        let fire_s = fire_ns / SECOND_NS;
        if fire_s >= end_s {
            break;
        }
        let second = (fire_s - span.from_s).unsigned_abs();
        add(counts, second, &offsets);
    }
}

/// Fires whose gaps are looked at to find the shortest: a week of an hourly rule, a day of one that fires
/// every few minutes.
const GAPS_LOOKED_AT: usize = 200;

/// Intervals count from the start of the span, as if all had been put then: the worst that can be.
fn walk_every(every: Duration, group: &Group<'_>, jitter_max: Duration, counts: &mut [u32]) {
    let every_s = every.as_secs_f64();
    let offsets = offsets(&group.members, window_s(every.as_secs(), jitter_max));
    if every_s < 1.0 {
        // Several in each second, whatever the jitter.
        let each = (group.members.len() as f64 / every_s) as u32;
        for count in counts {
            *count = count.saturating_add(each);
        }
        return;
    }
    let len_s = counts.len() as u64;
    let fires = (1..).map(|index| (f64::from(index) * every_s) as u64);
    for second in fires.take_while(|second| *second < len_s) {
        add(counts, second, &offsets);
    }
}

fn window_s(gap_s: u64, jitter_max: Duration) -> u64 {
    jitter_max.as_secs().min(gap_s / GAP_PART)
}

/// How many members have which offset.
fn offsets(members: &[&str], window_s: u64) -> Vec<(u64, u32)> {
    let mut offsets: Vec<u64> = members
        .iter()
        .map(|name| jitter_ns(name, window_s * SECOND_NS.unsigned_abs()))
        .map(|ns| ns / SECOND_NS.unsigned_abs())
        .collect();
    offsets.sort_unstable();
    offsets.chunk_by(|one, next| one == next).map(|run| (run[0], run.len() as u32)).collect()
}

fn add(counts: &mut [u32], second: u64, offsets: &[(u64, u32)]) {
    for (offset, members) in offsets {
        // What jitter moves beyond the span is not part of it.
        if let Some(count) = counts.get_mut((second + offset) as usize) {
            *count = count.saturating_add(*members);
        }
    }
}
