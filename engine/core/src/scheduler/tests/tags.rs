//! Tags: what is found by them, and how long a job has them.

use super::{fetch::in_queue, keep::Cut, *};
use crate::{JobOptions, Schedule, States, Tags, Timing};

fn tags(words: &[&str]) -> Tags {
    words.iter().fold(Tags::default(), |tags, word| tags.with(word))
}

fn tagged(words: &[&str]) -> NewJob<'static> {
    let options = JobOptions { tags: tags(words), ..JobOptions::default() };
    NewJob { options: Some(options.into()), ..in_queue("mail") }
}

fn found(world: &World, words: &[&str]) -> Vec<JobId> {
    let filter = Filter { tags: tags(words), ..Filter::default() };
    let mut found = Vec::new();
    let budget = WalkBudget { places: 1000, jobs: 1000 };
    world.core.find_jobs(&filter, WalkPlace::default(), budget, &mut found);
    found
}

#[test]
fn jobs_are_found_by_all_tags_that_are_asked_for() {
    let mut world = World::new();
    let both = world.submit(&tagged(&["eu", "billing"]));
    let one = world.submit(&tagged(&["eu"]));
    world.submit(&job());
    assert_eq!(found(&world, &["eu"]), [both, one]);
    assert_eq!(found(&world, &["billing", "eu"]), [both]);
    assert_eq!(found(&world, &["e"]), []);
    assert_eq!(found(&world, &[]).len(), 3);
    assert_eq!(world.core.job(both).unwrap().tags, tags(&["eu", "billing"]));
    let change = Change::Cancel;
    let filter = Filter { tags: tags(&["billing"]), ..Filter::default() };
    changes::change_many(&mut world, &filter, &change, 7);
    assert_eq!(found(&world, &["eu"]), [one]);
    world.core.census().unwrap();
}

#[test]
fn a_job_has_its_tags_until_it_is_forgotten_dead_or_queued_again() {
    let mut world = World::new();
    let options = |group: Option<&str>, expires| JobOptions {
        tags: tags(&["eu"]),
        group: group.map(Into::into),
        expires,
        ..JobOptions::default()
    };
    let of = |options: JobOptions| NewJob {
        options: Some(options.into()),
        attempts_max: 1,
        ..in_queue("mail")
    };
    let expires = Some(Expiry::After(3600 * SECOND));
    let jobs = [options(None, None), options(None, expires), options(Some("acme"), expires)]
        .map(|options| world.submit(&of(options)));
    for dispatch in world.pass(TICK_NS) {
        world.complete(dispatch, Outcome::Permanent("never"));
    }
    for mut world in world.reopened() {
        world.core.census().unwrap();
        let filter = Filter {
            tags: tags(&["eu"]),
            states: States::of(&[JobState::Dead]),
            ..Filter::default()
        };
        let mut dead = Vec::new();
        let budget = WalkBudget { places: 1000, jobs: 1000 };
        world.core.find_jobs(&filter, WalkPlace::default(), budget, &mut dead);
        dead.sort_unstable();
        assert_eq!(dead, jobs);
        for job in jobs {
            world.answer(Input::Change { caller: CallerId(0), job, change: &Change::Requeue });
        }
        for world in world.reopened() {
            world.core.census().unwrap();
            assert_eq!(found(&world, &["eu"]), jobs);
            let acme = world.core.job(jobs[2]).unwrap();
            assert_eq!((acme.group.as_deref(), acme.expires), (Some("acme"), None));
        }
    }
}

#[test]
fn tags_are_kept_when_the_journals_beginning_is_cut() {
    let mut cut = Cut::new();
    let waits = cut.world.submit(&NewJob { due: Due::After(3600 * SECOND), ..tagged(&["eu"]) });
    let dies = cut.world.submit(&NewJob { attempts_max: 1, ..tagged(&["eu"]) });
    for dispatch in cut.world.pass(0) {
        cut.world.complete(dispatch, Outcome::Permanent("never"));
    }
    for _ in 0..4 {
        cut.clean(12);
        cut.check();
    }
    assert_eq!(found(&cut.world, &["eu"]), [waits, dies]);
}

#[test]
fn the_jobs_of_a_schedule_have_its_tags() {
    let mut world = World::new();
    let timing = Timing::Every(SECOND);
    let schedule = Schedule::new("pulse", timing, tagged(&["eu"]));
    world.put(&schedule);
    world.pass(SECOND + TICK_NS);
    assert_eq!(found(&world, &["eu"]).len(), 1);
    for mut world in world.reopened() {
        world.pass(SECOND);
        assert_eq!(found(&world, &["eu"]).len(), 2);
    }
}

#[test]
fn tags_out_of_bounds_are_refused() {
    let mut world = World::new();
    let many: Vec<String> = (0..=limits::TAGS_MAX).map(|number| format!("tag {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "x".repeat(limits::TAG_BYTES_MAX + 1);
    for words in [&many[..], &[&long], &[""]] {
        let answer = world.answer(Input::Submit { caller: CallerId(0), job: &tagged(words) });
        assert!(matches!(answer, Answer::Refused(Refusal::Tag(_))), "{answer:?}");
    }
    let longest = "x".repeat(limits::TAG_BYTES_MAX);
    let mut most = many[1..].to_vec();
    most[3] = &longest;
    let job = world.submit(&tagged(&most));
    assert_eq!(world.core.job(job).unwrap().tags.iter().collect::<Vec<_>>(), most);
}
