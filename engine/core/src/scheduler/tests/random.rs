//! Whatever happens, drawn at random: the journal alone gives the same state.

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Submit { delay_s: u64, attempts_max: u16, at: bool, key: u8, expires_s: Option<u64> },
    Change { pick: usize, change: u8 },
    ChangeMany { change: u8, among: u8 },
    Cancel { pick: usize },
    Complete { pick: usize, outcome: u8 },
    Pass { ms: u64 },
    Put { name: u8, every_s: u64 },
    Remove { name: u8 },
    Pause { name: u8, resume: bool },
    Run { name: u8 },
    Unique { key: u8, until: u8, conflict: u8, delay_s: u64, span_s: Option<u64> },
    Need { on: Vec<usize>, when: u8, otherwise: bool, expires_s: Option<u64> },
    NewBatch { parent: Option<usize>, callbacks: u8 },
    SetBatch { pick: usize, is_open: bool },
    Member { pick: usize, delay_s: u64, attempts_max: u16 },
    LimitGroups { group: Option<u8>, limits: u8 },
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (
            0..20_u64,
            1..4_u16,
            any::<bool>(),
            0..12_u8,
            prop::option::weighted(0.3, 1..25_u64),
        ).prop_map(|(delay_s, attempts_max, at, key, expires_s)| {
            Op::Submit { delay_s, attempts_max, at, key, expires_s }
        }),
        2 => (0..64_usize, 0..10_u8).prop_map(|(pick, change)| Op::Change { pick, change }),
        1 => (0..10_u8, 0..4_u8).prop_map(|(change, among)| Op::ChangeMany { change, among }),
        1 => (0..64_usize).prop_map(|pick| Op::Cancel { pick }),
        4 => (0..64_usize, 0..6_u8).prop_map(|(pick, outcome)| Op::Complete { pick, outcome }),
        4 => (0..4000_u64).prop_map(|ms| Op::Pass { ms }),
        1 => (0..3_u8, 1..9_u64).prop_map(|(name, every_s)| Op::Put { name, every_s }),
        1 => (0..3_u8).prop_map(|name| Op::Remove { name }),
        1 => (0..3_u8).prop_map(|name| Op::Run { name }),
        2 => (0..4_u8, 0..3_u8, 0..3_u8, 0..5_u64, prop::option::of(1..20_u64)).prop_map(
            |(key, until, conflict, delay_s, span_s)| {
                Op::Unique { key, until, conflict, delay_s, span_s }
            }
        ),
        2 => (
            prop::collection::vec(0..6_usize, 1..4),
            0..3_u8,
            any::<bool>(),
            prop::option::weighted(0.2, 1..20_u64),
        )
            .prop_map(|(on, when, otherwise, expires_s)| {
                Op::Need { on, when, otherwise, expires_s }
            }),
        1 => (prop::option::weighted(0.4, 0..9_usize), 0..8_u8)
            .prop_map(|(parent, callbacks)| Op::NewBatch { parent, callbacks }),
        1 => (0..9_usize, prop::bool::weighted(0.2))
            .prop_map(|(pick, is_open)| Op::SetBatch { pick, is_open }),
        2 => (0..9_usize, 0..3_u64, 1..3_u16)
            .prop_map(|(pick, delay_s, attempts_max)| Op::Member { pick, delay_s, attempts_max }),
        1 => (prop::option::of(0..3_u8), 0..6_u8)
            .prop_map(|(group, limits)| Op::LimitGroups { group, limits }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(name, resume)| Op::Pause { name, resume }),
    ]
}

/// Does one thing in `world`; `running` are the attempts under way.
pub(super) fn run(
    world: &mut World,
    running: &mut Vec<Dispatch>,
    op: Op,
) -> Result<(), TestCaseError> {
    match op {
        Op::Submit { delay_s, attempts_max, at, key, expires_s } => {
            let due = if at {
                Due::At(WallTime(world.now.wall.0 + delay_s * SECOND))
            } else {
                Due::After(delay_s * SECOND)
            };
            let payload = format!("{delay_s} {at}").into_bytes().into();
            let timeout_ms = 3000;
            // Few keys, so that a new job has that of a dead one.
            let number = key;
            let key = (key < 4).then_some(Key([key; 16]));
            let keeps_dead = delay_s != 7;
            let expires = expires_s.map(|seconds| Expiry::After(seconds * SECOND));
            // Some have a group, with other optional fields or without.
            let group = (number >= 7).then(|| groups::name(number % 3).into());
            let tags = match number % 4 {
                1 => crate::Tags::default().with("even").with("odd"),
                _ => crate::Tags::default(),
            };
            let options = JobOptions { expires, group, tags, ..JobOptions::default() };
            let options = (!options.is_default()).then(|| options.into());
            let new = NewJob { due, attempts_max, timeout_ms, payload, options, ..job() };
            let new = NewJob { key, keeps_dead, ..new };
            let answer = world.answer(Input::Submit { caller: CallerId(0), job: &new });
            let is_held =
                matches!(answer, Answer::Refused(Refusal::KeyHeld(_) | Refusal::GroupFull { .. }));
            let never_runs = expires_s.is_some_and(|seconds| seconds <= delay_s);
            let refused = answer == Answer::Refused(Refusal::ExpiresFirst);
            let is_added = matches!(answer, Answer::Submitted(_));
            prop_assert!(refused == never_runs && (refused || is_held || is_added), "{:?}", answer);
        }
        Op::Change { pick, change } => {
            let job = JobId::new(ShardId(0), pick as u64 + 1);
            let change = changes::number(change, world.now);
            world.answer(Input::Change { caller: CallerId(0), job, change: &change });
        }
        Op::ChangeMany { change, among } => {
            let change = changes::number(change, world.now);
            let filter = changes::filter_number(among);
            changes::change_many(world, &filter, &change, 7);
        }
        Op::Cancel { pick } => {
            let job = JobId::new(ShardId(0), pick as u64 + 1);
            world.answer(Input::Cancel { caller: CallerId(0), job });
        }
        Op::Complete { pick, outcome } if !running.is_empty() => {
            let dispatch = running.swap_remove(pick % running.len());
            let outcome = match outcome {
                0 => Outcome::Succeeded,
                4 => Outcome::NotBegun,
                5 => Outcome::Postponed(SECOND),
                1 => Outcome::Retryable("later"),
                2 => Outcome::Permanent("never"),
                _ => Outcome::Panicked("boom"),
            };
            world.complete(dispatch, outcome);
        }
        Op::Complete { .. } => {}
        Op::Pass { ms } => {
            for dispatch in world.pass(ms * 1_000_000) {
                let now = match dispatch.clock {
                    Clock::Mono => world.now.mono.0,
                    Clock::Wall => world.now.wall.0,
                };
                prop_assert!(dispatch.due_ns <= now, "early");
                prop_assert!(dispatch.number <= dispatch.attempts_max);
                running.push(dispatch);
            }
        }
        Op::Put { name, every_s } => {
            let name = format!("schedule {name}");
            let overlap = match every_s % 4 {
                0 => Overlap::Skip,
                1 => Overlap::Allow,
                2 => Overlap::Queue { limit: 3 },
                _ => Overlap::Replace,
            };
            let rule = Schedule::new(name, Timing::Every(every_s * SECOND), job());
            world.put(&Schedule { overlap, ..rule });
        }
        Op::Remove { name } => {
            let name = format!("schedule {name}");
            world.answer(Input::RemoveSchedule { caller: CallerId(0), name: &name });
        }
        Op::Run { name } => {
            let name = format!("schedule {name}");
            world.answer(Input::RunSchedule { caller: CallerId(0), name: &name });
        }
        op @ (Op::Unique { .. }
        | Op::Need { .. }
        | Op::NewBatch { .. }
        | Op::SetBatch { .. }
        | Op::Member { .. }) => relations::run(world, op),
        Op::LimitGroups { group, limits } => {
            let group = group.map(groups::name);
            let limits = groups::some_limits(limits);
            let answer = world.answer(Input::LimitGroups {
                caller: CallerId(0),
                queue: "default",
                group,
                limits: limits.as_ref(),
            });
            prop_assert!(matches!(answer, Answer::QueueSet(_)), "{:?}", answer);
        }
        Op::Pause { name, resume } => {
            let (caller, name) = (CallerId(0), format!("schedule {name}"));
            world.answer(match resume {
                true => Input::ResumeSchedule { caller, name: &name },
                false => Input::PauseSchedule { caller, name: &name, note: "why" },
            });
        }
    }
    prop_assert!(world.core.census().is_ok(), "{:?}", world.core.census());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened, the journal alone gives the same state; no attempt is early or beyond
    /// the limit, and each dispatch names a live attempt.
    #[test]
    fn the_journal_alone_gives_the_same_state(ops in prop::collection::vec(any_op(), 1..120)) {
        let mut world = World::new();
        let mut running: Vec<Dispatch> = Vec::new();
        for op in ops {
            run(&mut world, &mut running, op)?;
        }
        let mut replayed = World::with(world.journal.clone(), world.now.mono.0, world.now.wall.0);
        keep::replay(&mut replayed.core, &world.journal, 0);
        prop_assert_eq!(census(&replayed), census(&world));
    }
}
