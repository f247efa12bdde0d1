//! Jobs that have to do with others: keys of uniqueness, needs, batches. What follows from an end follows once,
//! whatever is cut off or ends in between.

use super::*;
use crate::{
    batch::{BatchEnd, Callback, Fired, Membership, NewBatch, Role},
    event::BatchEndWritten,
    job::{Conflict, JobOptions, Need, Needs, Otherwise, Unique, Until, When},
    queue::QueueLimits,
};

/// Does one thing to do with relations, drawn.
pub(super) fn run(world: &mut World, op: Op) {
    let caller = CallerId(0);
    let batch_at = |world: &World, pick: usize| {
        let count = world.core.batches.len().max(1);
        world.core.batches.iter().nth(pick % count).map(|(id, _)| id)
    };
    let (due, options, attempts_max) = match op {
        Op::Unique { key, until, conflict, delay_s, span_s } => {
            let until = [Until::Start, Until::End, Until::Time][usize::from(until)];
            let conflict =
                [Conflict::Reject, Conflict::Replace, Conflict::Existing][usize::from(conflict)];
            let span_ns = span_s.map(|seconds| seconds * SECOND);
            let unique = Some(Unique { key: Key([key; 16]), until, span_ns, conflict });
            (Due::After(delay_s * SECOND), JobOptions { unique, ..JobOptions::default() }, 2)
        }
        Op::Need { on, when, otherwise, expires_s } => {
            let when = [When::Succeeded, When::NotSucceeded, When::Done][usize::from(when)];
            let held = views(world);
            let picked = on.iter().filter_map(|pick| held.get(held.len().checked_sub(pick + 1)?));
            let needs: Vec<Need> = picked.map(|view| Need { job: view.id, when }).collect();
            let otherwise = if otherwise { Otherwise::Run } else { Otherwise::Cancel };
            let expires = expires_s.map(|seconds| Expiry::After(seconds * SECOND));
            let options = JobOptions {
                needs: Needs::new(&needs),
                otherwise,
                expires,
                ..JobOptions::default()
            };
            (Due::After(0), options, 2)
        }
        Op::NewBatch { parent, callbacks } => {
            let parent = parent.and_then(|pick| batch_at(world, pick));
            let callback = |which: Callback| {
                (callbacks & 1 << which as u8 != 0).then(|| NewJob::new(format!("{which:?}")))
            };
            let callbacks = Callback::ALL.map(callback);
            let batch = NewBatch { parent, callbacks, ..NewBatch::described("drawn") };
            world.answer(Input::NewBatch { caller, batch: &batch });
            return;
        }
        Op::SetBatch { pick, is_open } => {
            if let Some(batch) = batch_at(world, pick) {
                world.answer(Input::SetBatch { caller, batch, is_open });
            }
            return;
        }
        Op::Member { pick, delay_s, attempts_max } => {
            let Some(batch) = batch_at(world, pick) else { return };
            let batch = Some(Membership { batch, role: Role::Member });
            let options = JobOptions { batch, ..JobOptions::default() };
            (Due::After(delay_s * SECOND), options, attempts_max)
        }
        _ => unreachable!("the caller has looked"),
    };
    let job = NewJob { due, attempts_max, options: Some(options.into()), ..job() };
    world.answer(Input::Submit { caller, job: &job });
}

/// All of relations that a replay gives.
pub(super) fn whole(core: &Scheduler, now: Now) -> String {
    let is_held = |held: &crate::job::unique::Held| held.until.is_none_or(|until| until > now.wall);
    let mut uniques: Vec<_> = core.uniques.iter().filter(is_held).collect();
    uniques.sort_by_key(|held| held.key);
    let pairs: Vec<_> = core.waits.pairs().collect();
    let ended: Vec<_> = core.waits.ended().collect();
    let batches: Vec<_> = core.batches.iter().collect();
    format!("{uniques:?} {pairs:?} {ended:?} {batches:?}")
}

pub(super) fn unique(until: Until, span_s: Option<u64>, conflict: Conflict) -> NewJob<'static> {
    let span_ns = span_s.map(|seconds| seconds * SECOND);
    let unique = Some(Unique { key: Key([1; 16]), until, span_ns, conflict });
    NewJob { options: Some(JobOptions { unique, ..JobOptions::default() }.into()), ..job() }
}

pub(super) fn needing(needs: &[(JobId, When)], otherwise: Otherwise) -> NewJob<'static> {
    let needs: Vec<Need> =
        needs.iter().map(|(job, when)| Need { job: *job, when: *when }).collect();
    let options = JobOptions { needs: Needs::new(&needs), otherwise, ..JobOptions::default() };
    NewJob { options: Some(options.into()), ..job() }
}

pub(super) fn member(batch: JobId, job: NewJob<'static>) -> NewJob<'static> {
    let batch = Some(Membership { batch, role: Role::Member });
    NewJob { options: Some(JobOptions { batch, ..JobOptions::default() }.into()), ..job }
}

pub(super) fn refusal(world: &mut World, job: &NewJob<'_>) -> Refusal {
    let before = world.journal.events.len();
    match world.answer(Input::Submit { caller: CallerId(0), job }) {
        Answer::Refused(refusal) => {
            assert_eq!(world.journal.events.len(), before, "a refused job is written");
            refusal
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn cancel(world: &mut World, job: JobId) {
    world.answer(Input::Cancel { caller: CallerId(0), job });
}

/// Lets what is due run, each attempt as `outcome` says.
pub(super) fn run_all(world: &mut World, outcome: Outcome<'_>) -> Vec<JobId> {
    let begun = world.pass(TICK_NS);
    for dispatch in &begun {
        world.complete(*dispatch, outcome);
    }
    begun.iter().map(|dispatch| dispatch.attempt.job).collect()
}

pub(super) fn new_batch(world: &mut World, parent: Option<JobId>, callbacks: [bool; 3]) -> JobId {
    let callback =
        |which: Callback| callbacks[which as usize].then(|| NewJob::new(format!("{which:?}")));
    let callbacks = Callback::ALL.map(callback);
    let batch = NewBatch { parent, callbacks, ..NewBatch::described("invoices of March") };
    match world.answer(Input::NewBatch { caller: CallerId(0), batch: &batch }) {
        Answer::Batch(id) => id,
        other => panic!("{other:?}"),
    }
}

pub(super) fn set_batch(world: &mut World, batch: JobId, is_open: bool) -> Answer {
    world.answer(Input::SetBatch { caller: CallerId(0), batch, is_open })
}

/// The kinds of what begins now; each succeeds.
pub(super) fn kinds(world: &mut World) -> Vec<String> {
    let begun = world.pass(TICK_NS);
    let kinds = begun.iter().map(|dispatch| world.core.kind_name(dispatch.kind).into()).collect();
    for dispatch in begun {
        world.complete(dispatch, Outcome::Succeeded);
    }
    kinds
}

#[test]
fn a_key_is_held_until_the_start_the_end_or_for_a_time() {
    for until in [Until::Start, Until::End, Until::Time] {
        let mut world = World::new();
        let span_s = (until == Until::Time).then_some(100);
        let job = unique(until, span_s, Conflict::Reject);
        let first = world.submit(&job);
        assert_eq!(refusal(&mut world, &job), Refusal::NotUnique(first));
        let mut world = world.restart(0);
        assert_eq!(refusal(&mut world, &job), Refusal::NotUnique(first));
        let dispatch = world.pass(TICK_NS)[0];
        assert_eq!(world.core.holder_of(Key([1; 16])).is_none(), until == Until::Start);
        world.complete(dispatch, Outcome::Succeeded);
        assert_eq!(world.core.holder_of(Key([1; 16])).is_some(), until == Until::Time);
        world.pass(100 * SECOND + TICK_NS);
        assert_eq!(world.core.holder_of(Key([1; 16])), None);
        world.submit(&job);
        world.core.census().unwrap();
    }
}

#[test]
fn a_span_frees_a_key_whose_job_still_waits_and_a_retry_keeps_it() {
    let mut world = World::new();
    let job = unique(Until::End, Some(10), Conflict::Reject);
    let waits = NewJob { due: Due::After(3600 * SECOND), ..job.clone() };
    world.submit(&waits);
    world.now.wall.0 += 10 * SECOND;
    world.now.mono.0 += 10 * SECOND;
    // Its time is over, though no timer has fired yet.
    let second = world.submit(&job);
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Retryable("later"));
    assert_eq!(refusal(&mut world, &job), Refusal::NotUnique(second));
    let third = unique(Until::Start, None, Conflict::Reject);
    cancel(&mut world, second);
    let third = world.submit(&third);
    cancel(&mut world, third);
    assert_eq!(world.core.holder_of(Key([1; 16])), None);
    world.core.census().unwrap();
}

#[test]
fn a_conflict_is_refused_replaced_or_answered_with_the_holder() {
    let mut world = World::new();
    let first = world.submit(&unique(Until::End, None, Conflict::Reject));
    let existing = unique(Until::End, None, Conflict::Existing);
    let answer = world.answer(Input::Submit { caller: CallerId(0), job: &existing });
    assert_eq!(answer, Answer::Existing(first));
    let replace = unique(Until::End, None, Conflict::Replace);
    let second = world.submit(&replace);
    assert_eq!((world.state(first), world.core.counts().cancelled), (None, 1));
    assert_eq!(world.core.holder_of(Key([1; 16])), Some(second));
    // One event: no crash is between the two.
    let mut world = world.restart(0);
    assert_eq!((world.state(first), world.state(second)), (None, Some(JobState::Ready)));
    world.pass(TICK_NS);
    assert_eq!(refusal(&mut world, &replace), Refusal::NotUnique(second));
    world.core.census().unwrap();
}

#[test]
fn a_job_takes_the_place_of_the_one_that_it_replaces_in_a_full_queue() {
    let mut world = World::new();
    let caller = CallerId(0);
    let limits = QueueLimits { length: Some(1), ..QueueLimits::default() };
    for queue in ["mail", "other"] {
        let (group, of_group) = (Some("acme"), Some(&limits));
        world.answer(Input::LimitQueue { caller, name: queue, limits: &limits });
        world.answer(Input::LimitGroups { caller, queue, group, limits: of_group });
    }
    let grouped = |queue: &'static str, group: &str| {
        let unique = unique(Until::End, None, Conflict::Replace);
        let options = (*unique.options.unwrap()).clone();
        let options = JobOptions { group: Some(group.into()), ..options };
        NewJob { options: Some(options.into()), queue: queue.into(), ..job() }
    };
    let first = world.submit(&grouped("mail", "acme"));
    let second = world.submit(&grouped("mail", "acme"));
    assert_eq!((world.state(first), world.state(second)), (None, Some(JobState::Ready)));
    let third = world.submit(&grouped("mail", "bolt"));
    assert_eq!(world.state(second), None);
    // In another queue, and in another group of it, it needs a place of its own.
    let own = NewJob { queue: "other".into(), ..job() };
    world.submit(&own);
    let full = refusal(&mut world, &grouped("other", "bolt"));
    assert!(matches!(full, Refusal::QueueFull { .. }), "{full:?}");
    assert_eq!(world.state(third), Some(JobState::Ready));
    world.core.census().unwrap();
}

#[test]
fn a_job_that_is_ready_at_once_counts_as_triggered_and_a_blocked_one_does_not() {
    let mut world = World::new();
    let first = world.submit(&unique(Until::End, None, Conflict::Reject));
    assert_eq!(core::mem::take(&mut world.out.lateness_ns), [0]);
    world.submit(&needing(&[(first, When::Done)], Otherwise::Cancel));
    assert!(world.out.lateness_ns.is_empty());
}

#[test]
fn a_job_cannot_wait_for_the_one_whose_place_it_takes() {
    let mut world = World::new();
    let first = world.submit(&unique(Until::End, None, Conflict::Replace));
    let mut options = (*unique(Until::End, None, Conflict::Replace).options.unwrap()).clone();
    options.needs = Needs::new(&[Need { job: first, when: When::Done }]);
    let second = NewJob { options: Some(options.into()), ..job() };
    assert!(matches!(refusal(&mut world, &second), Refusal::Relation(_)));
    assert_eq!(world.state(first), Some(JobState::Ready));
    world.core.census().unwrap();
}

#[test]
fn a_job_waits_until_all_that_it_needs_have_ended_as_they_have_to() {
    let mut world = World::new();
    let [a, b] = [0, 0].map(|_| world.submit(&NewJob { attempts_max: 1, ..job() }));
    let both = [(a, When::Succeeded), (b, When::NotSucceeded)];
    let last = world.submit(&needing(&both, Otherwise::Cancel));
    assert_eq!(world.state(last), Some(JobState::Blocked));
    let begun = world.pass(TICK_NS);
    assert_eq!(begun.len(), 2);
    world.complete(begun[0], Outcome::Succeeded);
    world.pass(TICK_NS);
    assert_eq!(world.state(last), Some(JobState::Blocked));
    let mut world = world.restart(0);
    // The restart ended the only attempt of the other one: it is dead.
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [last]);
    assert_eq!((world.core.counts().succeeded, world.core.counts().dead), (2, 1));
}

#[test]
fn a_need_that_is_not_met_cancels_all_that_follow_or_is_passed_over() {
    let mut world = World::new();
    let first = world.submit(&job());
    let second = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
    let third = world.submit(&needing(&[(second, When::Succeeded)], Otherwise::Cancel));
    let anyway = world.submit(&needing(&[(third, When::Succeeded)], Otherwise::Run));
    let undo = world.submit(&needing(&[(second, When::NotSucceeded)], Otherwise::Cancel));
    let after_all =
        world.submit(&needing(&[(third, When::Done), (undo, When::Done)], Otherwise::Cancel));
    assert_eq!(run_all(&mut world, Outcome::Permanent("no")), [first]);
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [undo, anyway]);
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [after_all]);
    assert_eq!(world.core.counts().cancelled, 2);
    world.core.census().unwrap();
}

#[test]
fn what_a_job_cannot_wait_for_is_refused() {
    let mut world = World::new();
    let ended = world.submit(&job());
    run_all(&mut world, Outcome::Succeeded);
    let cancel = Otherwise::Cancel;
    let check = |world: &mut World, needs: &[(JobId, When)], expected| {
        assert_eq!(refusal(world, &needing(needs, cancel)), expected);
    };
    let never = JobId::new(ShardId(0), 99);
    let elsewhere = JobId::new(ShardId(3), 1);
    check(&mut world, &[(ended, When::Succeeded)], Refusal::NeedOver(ended));
    check(&mut world, &[(never, When::Done)], Refusal::NeedUnknown(never));
    check(&mut world, &[(elsewhere, When::Done)], Refusal::NeedUnknown(elsewhere));
    let held = world.submit(&delayed(50));
    let twice = [(held, When::Done), (held, When::Succeeded)];
    check(&mut world, &twice, Refusal::NeedTwice(held));
    let many: Vec<_> = (0..65).map(|n| (JobId::new(ShardId(0), n + 1), When::Done)).collect();
    check(&mut world, &many, Refusal::TooManyNeeds { count: 65 });
    let none = refusal(&mut world, &needing(&[], Otherwise::Run));
    assert!(matches!(none, Refusal::Relation(_)), "{none:?}");
    // What has ended is done.
    let id = world.submit(&needing(&[(ended, When::Done)], cancel));
    assert_eq!(world.state(id), Some(JobState::Ready));
}

#[test]
fn without_room_nobody_is_told_and_later_all_are() {
    let mut world = World::new();
    let first = world.submit(&job());
    let second = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
    let dispatch = world.pass(TICK_NS)[0];
    let size_bytes = world.journal.size_bytes;
    world.complete(dispatch, Outcome::Succeeded);
    world.journal.size_bytes = world.journal.used_bytes + limits::START_BYTES_MAX - 1;
    assert!(world.pass(TICK_NS).is_empty());
    assert_eq!(world.state(second), Some(JobState::Blocked));
    let World { core, journal, now, .. } = &mut world;
    assert_eq!(core.write_base(*now, journal), None, "the end must not be forgotten");
    let bytes = snapshot::bytes(&mut world);
    let mut other = World::with(Memory::default(), world.now.mono.0, world.now.wall.0);
    other.journal.size_bytes = size_bytes;
    other.core = snapshot::restore(other.now, &bytes).unwrap();
    world.journal.size_bytes = size_bytes;
    for mut world in [world, other] {
        assert_eq!(run_all(&mut world, Outcome::Succeeded), [second]);
    }
}

#[test]
fn callbacks_come_once_each_and_in_their_order() {
    let mut world = World::new();
    let batch = new_batch(&mut world, None, [true, true, true]);
    let quick = Backoff { base_ms: 1000, max_ms: 1000 };
    for _ in 0..2 {
        world.submit(&member(batch, NewJob { backoff: quick, ..job() }));
    }
    let begun = world.pass(TICK_NS);
    world.complete(begun[0], Outcome::Succeeded);
    world.complete(begun[1], Outcome::Retryable("later"));
    assert!(kinds(&mut world).is_empty(), "it is not committed");
    assert_eq!(set_batch(&mut world, batch, false), Answer::Batch(batch));
    // Each has run once: that is complete.
    let complete = world.pass(TICK_NS);
    assert_eq!(world.core.kind_name(complete[0].kind), "Complete");
    let counts = world.core.batch(batch).unwrap().counts;
    assert_eq!((counts.total, counts.unrun, counts.open, counts.failed), (2, 0, 1, 0));
    let retried = world.pass(2 * SECOND)[0];
    world.complete(retried, Outcome::Succeeded);
    assert!(kinds(&mut world).is_empty(), "complete was not acknowledged");
    let mut world = world.restart(0);
    // The attempt was lost and comes again; the callback does not.
    assert_eq!(kinds(&mut world), ["Complete"]);
    assert_eq!(kinds(&mut world), ["Success"]);
    assert!(kinds(&mut world).is_empty());
    let view = world.core.batch(batch).unwrap();
    let fired = (view.counts.complete, view.counts.last);
    assert_eq!((view.is_over, fired), (true, (Fired::Succeeded, Fired::Succeeded)));
    let answer = set_batch(&mut world, batch, true);
    assert_eq!(answer, Answer::Refused(Refusal::BatchClosed(batch)));
    world.pass(limits::BATCH_KEPT_NS + TICK_NS);
    assert_eq!(world.core.batch(batch), None);
    assert_eq!(world.core.live_bytes(), 0);
}

#[test]
fn a_job_that_fails_for_good_brings_the_other_callback() {
    let mut world = World::new();
    let batch = new_batch(&mut world, None, [false, true, true]);
    let ids = [0, 0].map(|_| world.submit(&member(batch, job())));
    set_batch(&mut world, batch, false);
    cancel(&mut world, ids[1]);
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [ids[0]]);
    assert_eq!(kinds(&mut world), ["Failure"]);
    world.pass(TICK_NS);
    assert!(world.core.batch(batch).unwrap().is_over);
}

#[test]
fn an_empty_batch_fires_at_its_commit_and_one_within_another_counts_as_a_job() {
    let mut world = World::new();
    let parent = new_batch(&mut world, None, [true, true, false]);
    let child = new_batch(&mut world, Some(parent), [false, true, false]);
    set_batch(&mut world, parent, false);
    assert!(kinds(&mut world).is_empty());
    set_batch(&mut world, child, false);
    let mut world = world.restart(0);
    assert_eq!(kinds(&mut world), ["Success"]);
    assert_eq!(kinds(&mut world), ["Complete"]);
    assert_eq!(kinds(&mut world), ["Success"]);
    assert!(kinds(&mut world).is_empty());
}

#[test]
fn a_batch_that_is_not_committed_in_time_is_dropped_and_one_that_was_opened_again_is_committed() {
    let mut world = World::new();
    let parent = new_batch(&mut world, None, [false, false, true]);
    let dropped = new_batch(&mut world, Some(parent), [true, true, true]);
    let member_of_dropped = world.submit(&member(dropped, delayed(7200)));
    set_batch(&mut world, parent, false);
    let opened = new_batch(&mut world, None, [true, false, false]);
    let late = NewJob { due: Due::After(1900 * SECOND), ..job() };
    world.submit(&member(opened, late));
    set_batch(&mut world, opened, false);
    assert_eq!(refusal(&mut world, &member(opened, job())), Refusal::BatchClosed(opened));
    set_batch(&mut world, opened, true);
    let more = world.submit(&member(opened, job()));
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [more]);
    assert!(world.pass(limits::BATCH_OPEN_NS - 10 * SECOND).is_empty());
    assert_eq!(world.core.batch(dropped).map(|view| view.is_over), Some(false));
    let mut world = world.restart(5 * SECOND);
    world.pass(6 * SECOND);
    assert_eq!(world.core.batch(dropped), None);
    assert!(world.state(member_of_dropped).is_some(), "its jobs go on");
    assert_eq!(refusal(&mut world, &member(dropped, job())), Refusal::NoSuchBatch(dropped));
    let mut begun: Vec<String> = kinds(&mut world);
    begun.extend({
        world.pass(100 * SECOND).into_iter().for_each(|d| world.complete(d, Outcome::Succeeded));
        kinds(&mut world)
    });
    assert!(begun.iter().any(|kind| kind == "Complete"), "{begun:?}");
    assert!(!world.core.batch(opened).unwrap().is_open);
    let ends =
        world.journal.events.iter().filter_map(|bytes| match Event::decode(bytes).unwrap().0 {
            Event::BatchOver { end, .. } => Some(end),
            _ => None,
        });
    let expired = BatchEndWritten::from(BatchEnd::Expired);
    assert_eq!(ends.filter(|end| *end == expired).count(), 1);
    world.core.census().unwrap();
}

#[test]
fn callbacks_that_have_to_do_with_others_and_batches_that_are_not_there_are_refused() {
    let mut world = World::new();
    let nowhere = JobId::new(ShardId(0), 77);
    assert_eq!(refusal(&mut world, &member(nowhere, job())), Refusal::NoSuchBatch(nowhere));
    let answer = set_batch(&mut world, nowhere, false);
    assert_eq!(answer, Answer::Refused(Refusal::NoSuchBatch(nowhere)));
    let orphan = NewBatch { parent: Some(nowhere), ..NewBatch::default() };
    let answer = world.answer(Input::NewBatch { caller: CallerId(0), batch: &orphan });
    assert_eq!(answer, Answer::Refused(Refusal::NoSuchBatch(nowhere)));
    let unique = unique(Until::End, None, Conflict::Reject);
    let batch = NewBatch { callbacks: [Some(unique), None, None], ..NewBatch::default() };
    let answer = world.answer(Input::NewBatch { caller: CallerId(0), batch: &batch });
    assert!(matches!(answer, Answer::Refused(Refusal::Relation(_))), "{answer:?}");
    assert!(world.journal.events.is_empty());
}
