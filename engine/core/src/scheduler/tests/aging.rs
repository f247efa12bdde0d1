//! Aging: who has waited for long enough goes first, with a journal in memory.

use super::{
    fetch::{ids, in_queue},
    groups::of_group,
    *,
};

impl World {
    /// The line that a ready job of this priority stands in.
    fn line(&self, job: JobId, priority: u8) -> u8 {
        self.core.queues.agings.line_of(self.core.table.find(job).unwrap(), priority)
    }

    fn age(&mut self, name: &str, span_ms: Option<u32>) -> Answer {
        self.answer(Input::AgeQueue { caller: CallerId(0), name, span_ms })
    }

    /// Lets a second pass in which one attempt begins and ends; returns its job.
    fn second(&mut self) -> Option<JobId> {
        self.now.mono.0 += SECOND;
        self.now.wall.0 += SECOND;
        self.step(Input::Time { dispatch_max: 1 });
        let begun = core::mem::take(&mut self.out.dispatches).pop()?;
        self.complete(begun, Outcome::Succeeded);
        self.core.census().unwrap();
        Some(begun.attempt.job)
    }
}

/// After how many seconds a job of priority 2 begins, behind a steady stream of priority 4; at most 100.
fn starved_for(aging_ms: Option<u32>, job: NewJob<'static>) -> Option<u64> {
    let mut world = World::new();
    world.age("mail", aging_ms);
    let patient = world.submit(&NewJob { priority: 2, ..job });
    (1..=100).find(|_| {
        world.submit(&NewJob { priority: 4, ..in_queue("mail") });
        world.second() == Some(patient)
    })
}

#[test]
fn nothing_starves_behind_a_steady_stream_of_a_higher_priority() {
    for job in [in_queue("mail"), of_group("acme")] {
        assert_eq!(starved_for(None, job.clone()), None);
        // After two spans it stands among them, and those before it are few.
        let seconds = starved_for(Some(10_000), job.clone()).unwrap();
        assert!((20..=23).contains(&seconds), "{seconds} s");
        let seconds = starved_for(Some(5_000), job).unwrap();
        assert!((10..=13).contains(&seconds), "{seconds} s");
    }
}

#[test]
fn a_job_that_has_aged_goes_before_jobs_of_other_queues_and_fetches_see_it() {
    let mut world = World::new();
    world.age("mail", Some(1000));
    let patient = world.submit(&NewJob { priority: 0, ..in_queue("mail") });
    let mut recent = Vec::new();
    for _ in 0..20 {
        world.now.mono.0 += SECOND;
        world.now.wall.0 += SECOND;
        world.step(Input::Time { dispatch_max: 0 });
    }
    for queue in ["other", "mail"] {
        recent.push(world.submit(&NewJob { priority: 8, ..in_queue(queue) }));
    }
    assert_eq!(ids(&world.fetch(&["mail"], 1)), [patient]);
    let begun = ids(&world.pass(0));
    assert!(begun.len() == 2 && recent.iter().all(|job| begun.contains(job)));
    assert_eq!(world.core.job(patient).unwrap().priority, 0, "its own priority stays");
}

#[test]
fn all_that_was_waited_while_nothing_happened_counts_whoever_stands_in_the_lines_between() {
    for job in [in_queue("mail"), of_group("acme")] {
        let mut world = World::new();
        world.age("mail", Some(1000));
        let patient = world.submit(&NewJob { priority: 1, ..job.clone() });
        world.step(Input::Time { dispatch_max: 0 });
        world.now.mono.0 += 20 * SECOND;
        world.now.wall.0 += 20 * SECOND;
        let recent =
            [2, 4, 6].map(|priority| (world.submit(&NewJob { priority, ..job.clone() }), priority));
        world.step(Input::Time { dispatch_max: 0 });
        assert_eq!(world.line(patient, 1), 9);
        for (recent, priority) in recent {
            assert_eq!(world.line(recent, priority), priority);
        }
        world.core.census().unwrap();
    }
}

#[test]
fn a_record_with_a_span_of_nothing_ages_nothing() {
    let mut world = World::new();
    let job = world.submit(&NewJob { priority: 1, ..in_queue("mail") });
    let queue = world.core.queues.find("mail").unwrap();
    world.core.queues.set_aging(queue, Some(0), Lsn(0), 1);
    world.now.mono.0 += SECOND;
    world.now.wall.0 += SECOND;
    world.step(Input::Time { dispatch_max: 0 });
    assert_eq!((world.core.queues()[0].aging_ms, world.line(job, 1)), (None, 1));
}

#[test]
fn a_look_at_many_groups_goes_on_step_by_step() {
    let groups = 2 * limits::AGING_WORK_PER_STEP;
    let mut world = World::new();
    world.age("mail", Some(1000));
    let jobs: Vec<JobId> = (0..groups)
        .map(|group| world.submit(&NewJob { priority: 0, ..of_group(&alloc::format!("{group}")) }))
        .collect();
    world.now.mono.0 += SECOND;
    world.now.wall.0 += SECOND;
    let lifted = |world: &World| jobs.iter().filter(|job| world.line(**job, 0) == 1).count() as u32;
    let mut before = lifted(&world);
    assert_eq!(before, 0);
    // A group takes one for the look and one for its job, and the jobs without a group one look.
    for step in 1..=5 {
        world.step(Input::Time { dispatch_max: 0 });
        let now = lifted(&world);
        let most = limits::AGING_WORK_PER_STEP / 2;
        assert!(now > before && now - before <= most, "{before} and {now} at step {step}");
        before = now;
    }
    assert_eq!(before, groups);
    world.core.census().unwrap();
}

#[test]
fn aging_is_kept_and_begins_anew_with_a_start_and_one_that_is_taken_away_lifts_nothing() {
    let mut world = World::new();
    assert_eq!(
        world.age("mail", Some(0)),
        Answer::Refused(Refusal::QueueLimits("the aging must be a millisecond or more"))
    );
    assert_eq!(world.age("mail", Some(5000)), Answer::QueueSet(true));
    assert_eq!(world.age("mail", Some(5000)), Answer::QueueSet(false));
    world.answer(Input::PauseQueue { caller: CallerId(0), name: "mail", paused: true });
    let low = world.submit(&NewJob { priority: 1, ..in_queue("mail") });
    world.pass(4 * SECOND);
    for mut world in world.reopened() {
        assert_eq!(world.core.queues()[0].aging_ms, Some(5000));
        // What it had waited before does not count.
        world.pass(4 * SECOND);
        let before = world.line(low, 1);
        world.pass(2 * SECOND);
        assert_eq!((before, world.line(low, 1)), (1, 2));
        world.age("mail", None);
        world.pass(100 * SECOND);
        assert_eq!(world.line(low, 1), 2);
        world.core.census().unwrap();
        // Whoever comes to its place in the table stands in the line of its own priority.
        world.answer(Input::Cancel { caller: CallerId(0), job: low });
        world.submit(&NewJob { priority: 1, ..in_queue("mail") });
        world.core.census().unwrap();
    }
}
