//! Events as bytes: what is written comes back, and no byte moves unseen.

use super::*;
use crate::{
    batch::{Callback, Membership, Role},
    id::JobId,
    job::{Need, Needs, Tags, Until, When},
    queue::Rate,
    schedule::Overlap,
};
use proptest::prelude::*;

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let len = event.encode(&mut bytes);
    bytes.truncate(len);
    bytes
}

fn check(event: &Event<'_>, payload: &[u8]) {
    let bytes = [&encoded(event), payload].concat();
    assert_eq!(Event::decode(&bytes), Ok((event.clone(), payload)));
}

/// As many needs as a job may have.
fn most_needs() -> Needs {
    Needs::new(&[Need { job: JobId(u64::MAX), when: When::Done }; limits::NEEDS_MAX])
}

/// As many and as long tags as a job may have.
fn most_tags() -> Tags {
    (0..limits::TAGS_MAX).fold(Tags::default(), |tags, number| {
        tags.with(&alloc::format!("{number:x}").repeat(limits::TAG_BYTES_MAX))
    })
}

/// The longest options there are.
fn longest<'a>(needs: &'a [u8], tags: &'a [u8]) -> TermOptions<'a> {
    let free_at = Some(u64::MAX);
    let role = Role::Member;
    TermOptions {
        expires_at: Some(u64::MAX),
        expires_after: Some(u64::MAX),
        unique: Some(UniqueWritten { key: Key([7; 16]), until: Until::Time, free_at }),
        replaces: Some(u64::MAX),
        needs,
        otherwise_run: true,
        batch: Some(Membership { batch: JobId(u64::MAX), role }),
        group: Some(LONG_NAME),
        tags,
    }
}

const LONG_NAME: &str = match core::str::from_utf8(&[b'g'; limits::NAME_BYTES_MAX]) {
    Ok(name) => name,
    Err(_) => "",
};

fn some_limits() -> QueueLimits {
    QueueLimits {
        concurrency: Some(2),
        rate: Some(Rate { jobs: 3, period_ms: 4, burst: 5 }),
        weight: 6,
        length: Some(7),
    }
}

/// Each variant once, with its name on the page.
fn one_of_each() -> Vec<(&'static str, Event<'static>)> {
    let terms = Terms {
        priority: 5,
        attempts_max: 26,
        backoff_base_ms: 1,
        backoff_max_ms: 2,
        timeout_ms: 3,
        queue: limits::QUEUE_DEFAULT,
        key: None,
        options: TermOptions::default(),
        keeps_dead: true,
    };
    let job = JobAdded { job: 1, at: 2, due: 3, mono: true, kind: "k", terms };
    let rule = Rule {
        name: "n",
        timing: RuleTiming::Every(1),
        missed: RuleMissed::One,
        grace_ms: 1,
        kind: "k",
        terms,
        options: RuleOptions::default(),
    };
    let kept = JobKept {
        at: 1,
        job: job.clone(),
        attempt: 1,
        token: 1,
        state: KeptState::Ready,
        schedule: None,
    };
    alloc::vec![
        ("Added", Event::Added(job.clone())),
        ("Started", Event::Started { job: 1, token: 2, at: 3 }),
        ("Succeeded", Event::Succeeded { job: 1, at: 2 }),
        (
            "Failed",
            Event::Failed { job: 1, at: 2, failure: Failure::Lost, retry_at: None, message: "" },
        ),
        ("Cancelled", Event::Cancelled { job: 1, at: 2 }),
        ("SchedulePut", Event::SchedulePut { at: 1, rule: rule.clone(), next: None }),
        (
            "ScheduleFired",
            Event::ScheduleFired {
                at: 1,
                name: "n",
                next: None,
                catch_up_until: 2,
                job: Some(job),
            },
        ),
        ("ScheduleRemoved", Event::ScheduleRemoved { at: 1, name: "n" }),
        ("Released", Event::Released { job: 1, at: 2, due: 3 }),
        ("Kept", Event::Kept(kept)),
        (
            "ScheduleKept",
            Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 2, fired: 3 },
        ),
        (
            "Base",
            Event::Base {
                at: 1,
                next_sequence: 2,
                added: 3,
                succeeded: 4,
                dead: 5,
                cancelled: 6,
                failed_attempts: 7,
            },
        ),
        ("StartedMany", Event::StartedMany { at: 1, count: 2 }),
        ("SucceededMany", Event::SucceededMany { at: 1, count: 2 }),
        ("Fetched", Event::Fetched { at: 1, count: 2 }),
        ("Extended", Event::Extended { job: 1, at: 2, lease_end: 3 }),
        ("QueueSet", Event::QueueSet { at: 1, name: "n", paused: true }),
        ("SchedulePaused", Event::SchedulePaused { at: 1, name: "n", note: "w" }),
        ("ScheduleResumed", Event::ScheduleResumed { at: 1, name: "n" }),
        ("QueueLimits", Event::QueueLimits { at: 1, name: "n", limits: some_limits(), full_at: 8 },),
        ("Expired", Event::Expired { job: 1, at: 2 }),
        ("Totals", Event::Totals { at: 1, expired: 2 }),
        ("Buried", Event::Buried { job: 1, at: 2, failure: Failure::Lost, message: "" }),
        ("Changed", Event::Changed { at: 1, change: JobChange::Queue("q"), count: 2 }),
        ("NeedSettled", Event::NeedSettled { job: 1, on: 2, at: 3, met: true }),
        ("UniqueKept", Event::UniqueKept { at: 1, key: [7; 16], job: 2, free_at: 3 }),
        (
            "BatchPut",
            Event::BatchPut {
                at: 1,
                is_new: true,
                batch: BatchWritten {
                    batch: 2,
                    parent: None,
                    description: "d",
                    created: 3,
                    until: Some(4),
                    was_committed: false,
                    forget: None,
                    counts: BatchCounted::default(),
                },
            },
        ),
        ("BatchSet", Event::BatchSet { at: 1, batch: 2, until: None }),
        (
            "BatchCount",
            Event::BatchCount {
                at: 1,
                batch: 2,
                counts: BatchCounted {
                    total: 3,
                    unrun: 4,
                    open: 5,
                    failed: 6,
                    complete: FiredWritten::Succeeded,
                    last: FiredWritten::Failed,
                },
            },
        ),
        ("BatchOver", Event::BatchOver { at: 1, batch: 2, end: BatchEndWritten::Expired }),
        ("GroupsLimits", Event::GroupsLimits { at: 1, name: "n", limits: some_limits() }),
        (
            "GroupLimits",
            Event::GroupLimits { at: 1, name: "n", group: "g", limits: Some(some_limits()) },
        ),
        ("GroupSpent", Event::GroupSpent { at: 1, name: "n", group: "g", full_at: 2 }),
        ("QueueAging", Event::QueueAging { at: 1, name: "n", span_ms: Some(2) }),
    ]
}

/// Old logs stay readable: the numbers are those of the page, for ever.
#[test]
fn the_page_states_the_numbers() {
    const PAGE: &str = include_str!("../../../../docs/events.md");
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number: u8 = cells.next()?.parse().ok()?;
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((number, name))
    });
    let ours: Vec<(u8, &str)> =
        one_of_each().iter().map(|(name, event)| (encoded(event)[0], *name)).collect();
    assert_eq!(rows.collect::<Vec<_>>(), ours);
}

/// Options are written behind the terms, and only where there are any.
#[test]
fn golden_bytes_of_options() {
    let all = one_of_each();
    let (_, Event::ScheduleKept { rule, .. }) = &all[10] else { panic!("{:?}", all[10]) };
    let bytes = |options| {
        let rule = Rule { options, ..rule.clone() };
        let event = Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 2, fired: 3 };
        check(&event, b"payload");
        encoded(&event)
    };
    let with = |options: &[u8]| {
        let rule = [1, b'n', 1, 1, 0x11, 1, 1, b'k', 5, 26, 1, 2, 3];
        [&[10, 1][..], &rule, options, &[0, 2, 3]].concat()
    };
    let none = RuleOptions::default();
    let paused = RuleOptions { paused: Some((7, "why")), ..none };
    assert_eq!(bytes(paused), with(&[0x01, 7, 3, b'w', b'h', b'y']));
    assert_eq!(bytes(RuleOptions { overlap: Overlap::Skip, ..none }), with(&[0x02]));
    assert_eq!(bytes(RuleOptions { jitter_ns: 9, ..none }), with(&[0x04, 9]));
    assert_eq!(bytes(RuleOptions { starts: Some(8), ..none }), with(&[0x08, 8]));
    assert_eq!(bytes(RuleOptions { ends: Some(7), ..none }), with(&[0x10, 7]));
    assert_eq!(bytes(RuleOptions { runs_max: Some(6), ..none }), with(&[0x20, 6]));
    let full = RuleOptions {
        paused: Some((1, "")),
        overlap: Overlap::Skip,
        jitter_ns: 2,
        starts: Some(3),
        ends: Some(4),
        runs_max: Some(5),
    };
    assert_eq!(bytes(full), with(&[0x3f, 1, 0, 2, 3, 4, 5]));
    let queue = RuleOptions { overlap: Overlap::Queue { limit: 9 }, ..none };
    assert_eq!(bytes(queue), with(&[0x40, 2, 9]));
    let replace = RuleOptions { overlap: Overlap::Replace, runs_max: Some(6), ..none };
    assert_eq!(bytes(replace), with(&[0x60, 6, 3]));
    let mut newer = with(&[0x80]);
    Event::decode(&newer).unwrap_err();
    newer[6] = 3;
    Event::decode(&newer).unwrap_err();
}

/// A job's options are written behind its terms, and only where there are any.
#[test]
fn golden_bytes_of_a_jobs_options() {
    let all = one_of_each();
    let (_, Event::Added(job)) = &all[0] else { panic!("{:?}", all[0]) };
    let bytes = |options: TermOptions<'_>| {
        let terms = Terms { options, ..job.terms };
        let event = Event::Added(JobAdded { terms, ..job.clone() });
        check(&event, b"payload");
        encoded(&event)
    };
    let with = |first: u8, options: &[u8]| {
        [&[0, 1, 2, 3, 1, 1, b'k', first, 26, 1, 2, 3][..], options].concat()
    };
    let none = TermOptions::default();
    assert_eq!(bytes(none), with(5, &[]));
    assert_eq!(bytes(TermOptions { expires_at: Some(9), ..none }), with(0x45, &[1, 9]));
    assert_eq!(bytes(TermOptions { expires_after: Some(9), ..none }), with(0x45, &[2, 9]));
    let unique = UniqueWritten { key: Key([7; 16]), until: Until::Time, free_at: Some(8) };
    let written = [&[4][..], &[7; 16], &[2, 1, 8]].concat();
    assert_eq!(bytes(TermOptions { unique: Some(unique), ..none }), with(0x45, &written));
    assert_eq!(bytes(TermOptions { replaces: Some(9), ..none }), with(0x45, &[8, 9]));
    let needs = Needs::new(&[Need { job: JobId(6), when: When::Done }]);
    let waits = TermOptions { needs: needs.bytes(), otherwise_run: true, ..none };
    assert_eq!(bytes(waits), with(0x45, &[0x30, 9, 6, 0, 0, 0, 0, 0, 0, 0, 2]));
    let role = Role::Callback(Callback::Failure);
    let batch = Some(Membership { batch: JobId(6), role });
    assert_eq!(bytes(TermOptions { batch, ..none }), with(0x45, &[0x40, 6, 3]));
    assert_eq!(bytes(TermOptions { group: Some("g"), ..none }), with(0x45, &[0x80, 1, b'g']));
    let tags = Tags::default().with("t").with("ug");
    let written = [251, 0, 1, 7, 1, 0, b't', 2, 0, b'u', b'g'];
    assert_eq!(bytes(TermOptions { tags: tags.bytes(), ..none }), with(0x45, &written));
    Event::decode(&with(0x45, &[251, 0, 1, 3, 2, 0, b't'])).unwrap_err();
    Event::decode(&with(0x45, &[251, 0, 2, 9])).unwrap_err();
    Event::decode(&with(0x45, &[0x40, 6, 4])).unwrap_err();
    Event::decode(&with(0x45, &[0x10, 8, 6, 0, 0, 0, 0, 0, 0, 0])).unwrap_err();
    Event::decode(&with(0x45, &[0x10, 9, 6, 0, 0, 0, 0, 0, 0, 0, 3])).unwrap_err();
    // Whether it is kept once it is dead is a bit by itself.
    let terms = Terms { keeps_dead: false, ..job.terms };
    let dropped = Event::Added(JobAdded { terms, ..job.clone() });
    check(&dropped, b"payload");
    assert_eq!(encoded(&dropped), with(0x85, &[]));
}

/// The layout spelled out once, so that no edit of the code moves a byte unseen.
#[test]
fn golden_bytes() {
    let bytes: Vec<Vec<u8>> = one_of_each().iter().map(|(_, event)| encoded(event)).collect();
    let job = [1, 2, 3, 1, 1, b'k', 5, 26, 1, 2, 3];
    let rule = [1, b'n', 1, 1, 1, 1, 1, b'k', 5, 26, 1, 2, 3];
    let expected: Vec<Vec<u8>> = alloc::vec![
        [&[0][..], &job].concat(),
        alloc::vec![1, 1, 2, 3],
        alloc::vec![2, 1, 2],
        alloc::vec![3, 1, 2, 4, 0, 0],
        alloc::vec![4, 1, 2],
        [&[5, 1][..], &rule, &[0]].concat(),
        [&[6, 1, 1, b'n', 0, 2, 1][..], &job].concat(),
        alloc::vec![7, 1, 1, b'n'],
        alloc::vec![8, 1, 2, 3],
        [&[9, 1][..], &job, &[1, 1, 1, 0]].concat(),
        [&[10, 1][..], &rule, &[0, 2, 3]].concat(),
        alloc::vec![11, 1, 2, 3, 4, 5, 6, 7],
        alloc::vec![12, 1, 2],
        alloc::vec![13, 1, 2],
        alloc::vec![14, 1, 2],
        alloc::vec![15, 1, 2, 3],
        alloc::vec![16, 1, 1, b'n', 1],
        alloc::vec![17, 1, 1, b'n', 1, b'w'],
        alloc::vec![18, 1, 1, b'n'],
        alloc::vec![19, 1, 1, b'n', 1, 2, 1, 3, 4, 5, 6, 1, 7, 8],
        alloc::vec![20, 1, 2],
        alloc::vec![21, 1, 2],
        alloc::vec![22, 1, 2, 4, 0],
        alloc::vec![23, 1, 7, 1, b'q', 2],
        alloc::vec![24, 1, 2, 3, 1],
        [&[25, 1][..], &[7; 16], &[2, 3]].concat(),
        alloc::vec![26, 1, 1, 2, 0, 1, b'd', 3, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        alloc::vec![27, 1, 2, 0],
        alloc::vec![28, 1, 2, 3, 4, 5, 6, 2, 3],
        alloc::vec![29, 1, 2, 2],
        alloc::vec![30, 1, 1, b'n', 1, 2, 1, 3, 4, 5, 6, 1, 7],
        alloc::vec![31, 1, 1, b'n', 1, b'g', 1, 1, 2, 1, 3, 4, 5, 6, 1, 7],
        alloc::vec![32, 1, 1, b'n', 1, b'g', 2],
        alloc::vec![33, 1, 1, b'n', 1, 2],
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn events_come_back_as_they_were_written() {
    let (needs, tags) = (most_needs(), most_tags());
    let terms = Terms {
        priority: 9,
        attempts_max: 10_000,
        backoff_base_ms: u32::MAX,
        backoff_max_ms: u32::MAX,
        timeout_ms: u32::MAX,
        queue: "q",
        key: Some(Key([7; 16])),
        options: longest(needs.bytes(), tags.bytes()),
        keeps_dead: false,
    };
    let long = "k".repeat(limits::NAME_BYTES_MAX);
    let job =
        JobAdded { job: u64::MAX, at: u64::MAX, due: u64::MAX, mono: true, kind: &long, terms };
    let rule = Rule {
        name: &long,
        timing: RuleTiming::Cron(&"* ".repeat(500), "Europe/Berlin"),
        missed: RuleMissed::All(10_000, u64::MAX),
        grace_ms: u32::MAX,
        kind: &long,
        terms,
        options: RuleOptions::default(),
    };
    check(&Event::Added(job.clone()), b"payload");
    check(&Event::SchedulePut { at: 1, rule, next: Some(u64::MAX) }, &[0; 300]);
    let fired =
        Event::ScheduleFired { at: 1, name: &long, next: None, catch_up_until: 2, job: Some(job) };
    check(&fired, b"");
    let message = "m".repeat(limits::MESSAGE_BYTES_MAX);
    let failure = Failure::Panicked;
    check(&Event::Failed { job: 1, at: 2, failure, retry_at: Some(3), message: &message }, b"");
}

#[test]
fn events_of_a_cut_come_back_and_a_kept_job_fits_its_bound() {
    let (needs, tags) = (most_needs(), most_tags());
    let terms = Terms {
        priority: 9,
        attempts_max: 10_000,
        backoff_base_ms: u32::MAX,
        backoff_max_ms: u32::MAX,
        timeout_ms: u32::MAX,
        queue: "q",
        key: Some(Key([7; 16])),
        options: longest(needs.bytes(), tags.bytes()),
        keeps_dead: false,
    };
    let long = "k".repeat(limits::NAME_BYTES_MAX);
    let job =
        JobAdded { job: u64::MAX, at: u64::MAX, due: u64::MAX, mono: true, kind: &long, terms };
    let state = KeptState::Running { lease_end: u64::MAX };
    let (attempt, token) = (u16::MAX, u32::MAX);
    let schedule = Some(long.as_str());
    let kept = Event::Kept(JobKept { at: u64::MAX, job, attempt, token, state, schedule });
    check(&kept, b"payload");
    assert!(encoded(&kept).len() <= limits::KEPT_HEAD_BYTES_MAX);
    let Event::Kept(running) = kept else { unreachable!() };
    let message = &"m".repeat(limits::DEAD_MESSAGE_BYTES_MAX);
    let state = KeptState::Dead { died: u64::MAX, failure: Failure::Killed, message };
    let dead = Event::Kept(JobKept { state, ..running });
    check(&dead, b"payload");
    assert!(encoded(&dead).len() <= limits::KEPT_HEAD_BYTES_MAX);
    let rule = Rule {
        name: &long,
        timing: RuleTiming::Once(None),
        missed: RuleMissed::One,
        grace_ms: 0,
        kind: &long,
        terms,
        options: RuleOptions::default(),
    };
    let kept = Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 3, fired: 4 };
    check(&kept, b"payload");
    let base = Event::Base {
        at: u64::MAX,
        next_sequence: u64::MAX,
        added: u64::MAX,
        succeeded: u64::MAX,
        dead: u64::MAX,
        cancelled: u64::MAX,
        failed_attempts: u64::MAX,
    };
    check(&base, b"");
    assert!(encoded(&base).len() <= limits::BASE_BYTES_MAX);
}

#[test]
fn the_longest_limits_of_a_queue_fit_their_bound() {
    let limits = QueueLimits {
        concurrency: Some(u32::MAX),
        rate: Some(Rate { jobs: u32::MAX, period_ms: u32::MAX, burst: u32::MAX }),
        weight: u8::MAX,
        length: Some(u32::MAX),
    };
    let name = &"q".repeat(limits::NAME_BYTES_MAX);
    let event = Event::QueueLimits { at: u64::MAX, name, limits, full_at: u64::MAX };
    check(&event, b"");
    assert!(encoded(&event).len() as u64 <= limits::QUEUE_LIMITS_BYTES_MAX);
    let event = Event::GroupLimits { at: u64::MAX, name, group: name, limits: Some(limits) };
    check(&event, b"");
    assert!(encoded(&event).len() as u64 <= limits::GROUP_EVENT_BYTES_MAX);
}

#[test]
fn reserved_sizes_hold_the_longest_start_and_end_of_an_attempt() {
    let started = Event::Started { job: u64::MAX, token: u32::MAX, at: u64::MAX };
    assert!(encoded(&started).len() as u64 + 64 <= limits::START_BYTES_MAX);
    let message = &"m".repeat(limits::MESSAGE_BYTES_MAX);
    let (job, at, retry_at) = (u64::MAX, u64::MAX, Some(u64::MAX));
    let failed = Event::Failed { job, at, failure: Failure::Lost, retry_at, message };
    assert!(encoded(&failed).len() as u64 + 64 <= limits::OUTCOME_BYTES_MAX);
    let buried = Event::Buried { job, at, failure: Failure::Killed, message };
    assert!(encoded(&buried).len() as u64 + 64 <= limits::OUTCOME_BYTES_MAX);
    let queue = &"q".repeat(limits::NAME_BYTES_MAX);
    let changes = [
        JobChange::Due { due: u64::MAX, mono: true },
        JobChange::Priority(9),
        JobChange::Queue(queue),
    ];
    for change in changes {
        let changed = Event::Changed { at: u64::MAX, change, count: u32::MAX };
        check(&changed, b"list");
        assert!(encoded(&changed).len() <= limits::CHANGE_HEAD_BYTES_MAX);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((event, payload)) = Event::decode(&bytes) {
            prop_assert!(payload.len() <= bytes.len());
            prop_assert!(encoded(&event).len() <= bytes.len() - payload.len());
        }
    }
}
