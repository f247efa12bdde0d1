//! Each rule by an example that just breaks it.

use super::*;

const SPANS: Spans = Spans { p50: 1, p90: 2, p99: 3, p999: 4, p9999: 5, max: 6, count: 100 };

struct Case {
    slo: Slo,
    generator: Spans,
    lateness: Spans,
    ledger: LedgerCounts,
    resources: Resources,
    intervals: Vec<Interval>,
    rates_per_s: Option<(f64, f64)>,
    is_elsewhere: bool,
    faults_missed: usize,
    cut_short: Option<&'static str>,
    partial: bool,
}

fn verdict(change: impl FnOnce(&mut Case)) -> Verdict {
    let ledger =
        LedgerCounts { submitted: 100, acked: 100, completed: 100, ..LedgerCounts::default() };
    let resources = Resources {
        cpu_ns_per_job: 1.0,
        cpus_busy: 0.5,
        others_share: 0.0,
        steal_share: 0.0,
        rss_bytes: 1,
        wal_bytes_per_job: 1.0,
        held_share: 0.0,
    };
    let mut case = Case {
        slo: Slo::default(),
        generator: SPANS,
        lateness: SPANS,
        ledger,
        resources,
        intervals: Vec::new(),
        rates_per_s: Some((100.0, 100.0)),
        is_elsewhere: false,
        faults_missed: 0,
        cut_short: None,
        partial: false,
    };
    change(&mut case);
    let (generator, lateness) = (case.generator, case.lateness);
    Verdict::of(&Evidence {
        slo: &case.slo,
        spans: &move |name| match name {
            "generator" => Some(generator),
            "lateness" => Some(lateness),
            _ => None,
        },
        ledger: &case.ledger,
        resources: &case.resources,
        intervals: &case.intervals,
        cores: 2,
        rates_per_s: case.rates_per_s,
        completed_per_s: 100.0,
        is_steady: true,
        is_elsewhere: case.is_elsewhere,
        faults_missed: case.faults_missed,
        cut_short: case.cut_short,
        partial: case.partial,
    })
}

#[track_caller]
fn check(outcome: Outcome, rule: Rule, change: impl FnOnce(&mut Case)) {
    let verdict = verdict(change);
    assert_eq!(verdict.outcome, outcome, "{verdict:?}");
    assert!(verdict.has(rule), "{verdict:?}");
}

fn interval(submitted: u64, completed: u64, backlog: u64) -> Interval {
    Interval {
        start_s: 0.0,
        len_s: 1.0,
        submitted,
        completed,
        refused: 0,
        backlog,
        submit_p99_ns: 0,
        submit_max_ns: 0,
        lateness_p50_ns: 0,
        lateness_p99_ns: 0,
        lateness_max_ns: 0,
        generator_p99_ns: 0,
        rss_bytes: 0,
        lateness_heat: Vec::new(),
    }
}

#[test]
fn a_sound_run_passes() {
    let passed = verdict(|case| case.slo = "lateness.p99<4ns,errors<1%".parse().unwrap());
    // The generator is late by 3 ns, and half of 4 ns is all that it may be.
    assert!(passed.has(Rule::Generator));
    let passed = verdict(|case| case.slo = "lateness.p99<1ms,errors<1%".parse().unwrap());
    assert_eq!((passed.outcome, passed.reasons.len()), (Outcome::Pass, 0));
    assert!(passed.objectives.iter().all(|one| one.holds));
}

#[test]
fn each_broken_promise_is_incorrect_whatever_else_holds() {
    use Outcome::Incorrect;
    check(Incorrect, Rule::Correctness, |case| {
        (case.ledger.lost, case.ledger.completed) = (1, 99);
    });
    check(Incorrect, Rule::Correctness, |case| case.ledger.early = 1);
    check(Incorrect, Rule::Correctness, |case| case.ledger.damaged = 1);
    check(Incorrect, Rule::Correctness, |case| case.ledger.ran_after_cancel = 1);
    check(Incorrect, Rule::Ledger, |case| case.ledger.acked = 99);
    check(Incorrect, Rule::CutShort, |case| case.cut_short = Some("given up"));
}

#[test]
fn each_disturbance_makes_a_run_void() {
    use Outcome::Void;
    check(Void, Rule::Generator, |case| case.generator.p99 = 1_000_001);
    check(Void, Rule::NotOffered, |case| case.rates_per_s = Some((100.0, 96.0)));
    check(Void, Rule::Steal, |case| case.resources.steal_share = 0.03);
    check(Void, Rule::Interrupted, |case| case.partial = true);
    check(Void, Rule::Nothing, |case| case.lateness = Spans::default());
    check(Void, Rule::NotStationary, |case| {
        case.intervals = (0..10).map(|n| interval(100, 90, n * 10)).collect();
    });
}

#[test]
fn a_fault_that_did_not_come_makes_a_run_void_unless_it_was_interrupted() {
    check(Outcome::Void, Rule::FaultMissed, |case| case.faults_missed = 1);
    let interrupted = verdict(|case| (case.faults_missed, case.partial) = (1, true));
    assert!(!interrupted.has(Rule::FaultMissed));
}

#[test]
fn a_server_beside_the_generator_is_busy_by_what_others_use() {
    let slow = |is_elsewhere| {
        verdict(move |case| {
            case.rates_per_s = Some((100.0, 50.0));
            case.resources.others_share = 0.7;
            case.is_elsewhere = is_elsewhere;
        })
    };
    assert!(slow(false).has(Rule::NotOffered) && !slow(true).has(Rule::NotOffered));
}

#[test]
fn a_target_that_holds_the_generator_is_not_idle() {
    let held = verdict(|case| {
        case.rates_per_s = Some((100.0, 50.0));
        case.resources.held_share = 0.5;
    });
    assert_eq!(held.outcome, Outcome::Pass);
    let busy = verdict(|case| {
        case.rates_per_s = Some((100.0, 50.0));
        case.resources.cpus_busy = 1.9;
    });
    assert_eq!(busy.outcome, Outcome::Pass);
}

#[test]
fn a_level_backlog_is_stationary() {
    let level = verdict(|case| {
        case.intervals = (0..10).map(|_| interval(100, 99, 500)).collect();
    });
    assert_eq!(level.outcome, Outcome::Pass);
}

#[test]
fn a_missed_objective_gives_way_to_a_void_run() {
    check(Outcome::Missed, Rule::Objective, |case| {
        case.slo = "rate>1000".parse().unwrap();
    });
    check(Outcome::Void, Rule::Objective, |case| {
        case.slo = "rate>1000".parse().unwrap();
        case.partial = true;
    });
    let codes = [Outcome::Pass, Outcome::Missed, Outcome::Incorrect, Outcome::Void];
    assert_eq!(codes.map(Outcome::exit_code), [0, 2, 3, 4]);
}
