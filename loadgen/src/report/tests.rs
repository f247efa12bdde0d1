//! Whole pages from made-up results.

use super::*;
use crate::{
    Machine,
    result::{Interval, Point, Spans},
};

fn machine() -> Machine {
    let limits = crate::Limits::measure(std::path::Path::new(".")).unwrap();
    Machine::describe(std::path::Path::new("."), limits)
}

fn run(machine: &Machine, rate: f64) -> Report {
    let mut run = Report::bare("saturate", machine.clone());
    run.point = Some(Point { axis: "rate_per_s".to_owned(), value: rate });
    run.offered_per_s = Some(rate);
    run.achieved.completed_per_s = rate;
    run.achieved.submitted_per_s = rate;
    run.command = "tickwheel-loadgen run <&>".to_owned();
    run.target = "inproc".to_owned();
    run.durability = "sync".to_owned();
    let spans = Spans { p50: 90_000, p99: 800_000, max: 9_000_000, count: 100, ..Spans::default() };
    for metric in ["lateness", "submit"] {
        run.latency_ns.insert(metric.to_owned(), spans);
        let points = (0..=60).map(|n| (f64::from(n) / 12.0, 1000 + 900 * n as u64)).collect();
        run.curves.insert(metric.to_owned(), points);
    }
    for second in 0..5 {
        run.intervals.push(Interval {
            start_s: f64::from(second),
            len_s: 1.0,
            submitted: 100,
            completed: 100,
            refused: 0,
            backlog: 7,
            submit_p99_ns: 10,
            submit_max_ns: 20,
            lateness_p50_ns: 30_000,
            lateness_p99_ns: 60_000,
            lateness_max_ns: 90_000,
            generator_p99_ns: 1,
            rss_bytes: 1,
            lateness_heat: vec![0, 0, 5, 90, 5],
        });
    }
    run
}

#[test]
fn a_page_stands_alone_and_says_what_matters() {
    let machine = machine();
    let mut held = run(&machine, 20_000.0);
    held.extra.insert("saturation_per_s".to_owned(), 20_000.0);
    let html = page(&[run(&machine, 10_000.0), held]);
    for part in [
        "576,000,000 jobs a day at peak factor 3 (20,000 a second held), lateness p99 800 µs, durability sync",
        "Latency by percentile",
        "Latency against load",
        "20000/s held",
        "Offered and achieved",
        "Lateness over time",
        "Lateness, all of it",
        "tickwheel-loadgen run &lt;&amp;&gt;",
        "prefers-color-scheme:dark",
        "id=\"raw\">[{\"schema\":\"tickwheel.run/v2\"",
        "shared its processors",
    ] {
        assert!(html.contains(part), "{part:?} is missing");
    }
    let links = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!links.contains("http://") && !links.contains("https://"), "it needs the network");
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    assert!(html.matches("<svg").count() >= 7);
}

#[test]
fn faults_herds_syncs_and_costs_of_the_log_have_their_charts() {
    let machine = machine();
    let mut one = run(&machine, 10.0);
    one.resources.wal_bytes_per_job = 165.0;
    (one.log.appended_bytes, one.log.moved_bytes) = (1500, 500);
    let mut herd = one.clone();
    herd.verb = "herd".to_owned();
    herd.ledger.completed = 10;
    herd.syncs_by_time = vec![0, 0, 0, 4, 9];
    let fault = crate::result::FaultBand { kind: "kill".to_owned(), start_s: 2.0, end_s: 2.1 };
    herd.faults = vec![fault];
    herd.extra.insert("server_cpu_ns_per_job".to_owned(), 2500.0);
    let html = page(&[one.clone(), herd]);
    for part in [
        "How the herd drains",
        "Sync times",
        "Log a job",
        "Write amplification",
        "kill",
        "the server: processor time a job</td><td>2.50 µs",
    ] {
        assert!(html.contains(part), "{part:?} is missing");
    }
    let plain = page(&[one]);
    let bands = |html: &str| html.matches("fill=\"#0F0F0F\"").count();
    // The style sheet names the colour once.
    assert_eq!((bands(&html), bands(&plain)), (5, 1), "a band in each chart over time");
    for part in ["How the herd drains", "Sync times", "Log a job"] {
        assert!(!plain.contains(part), "{part:?} has no numbers");
    }
}

#[test]
fn a_page_without_a_pass_claims_nothing() {
    let mut missed = run(&machine(), 10.0);
    missed.verdict.add(crate::Rule::Objective, "lateness.p99<1ns does not hold".to_owned());
    let html = page(&[missed]);
    assert!(html.contains("No run passed: nothing is claimed"));
    assert!(html.contains("lateness.p99&lt;1ns does not hold"));
}

#[test]
fn two_results_stand_side_by_side() {
    let machine = machine();
    let (one, mut other) = (run(&machine, 10.0), run(&machine, 10.0));
    other.latency_ns.get_mut("lateness").unwrap().p99 = 1_600_000;
    let html = compare(["a", "b"], [&[one, run(&machine, 30.0)], &[other]]);
    assert!(html.contains("<td>800 µs</td><td>1.60 ms</td><td>2.00</td>"));
    assert!(html.contains("only in the first"));
}

#[test]
fn a_hundred_runs_make_a_page() {
    let machine = machine();
    let all: Vec<Report> = (1..=100).map(|n| run(&machine, f64::from(n) * 100.0)).collect();
    let html = page(&all);
    assert_eq!(html.matches("<td>saturate 10,000/s</td>").count(), 2);
}

#[test]
fn thousands_are_apart() {
    assert_eq!([0.0, 999.0, 1000.0, 1_234_567.4].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
