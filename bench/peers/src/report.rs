//! The table of a run: smallest, median and largest of the rounds.

use crate::{
    child::Written,
    options::Options,
    peer::{Measure, Name},
    record::PAYLOAD_BYTES,
    rounds::Outcome,
};

pub(crate) fn print(machine: &str, options: &Options, names: &[Name], outcomes: &[Outcome]) {
    println!("{machine}");
    println!(
        "{} rounds; records of {PAYLOAD_BYTES} bytes; each measurement ends after {} records or {} s",
        options.rounds,
        options.records_max,
        options.time_max.as_secs()
    );
    for measure in Measure::ALL {
        println!("\n{}", heading(measure));
        let last = if measure == Measure::Buffered { "p99.9 µs" } else { "p99 µs" };
        println!(
            "| store | records/s min | median | max | p50 µs (median) | {last} (median) | {last} \
             (max) | disk bytes per record | kept |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|---|");
        for name in names {
            println!("{}", row(*name, measure, outcomes));
        }
    }
}

fn heading(measure: Measure) -> &'static str {
    match measure {
        Measure::Lone => "Durable, one record a commit (latency of a commit)",
        Measure::Groups => "Durable, 1,000 records a commit (latency of a commit)",
        Measure::Buffered => {
            "Buffered, synced on the store's interval or at the end (latency of an append)"
        }
    }
}

fn row(name: Name, measure: Measure, outcomes: &[Outcome]) -> String {
    let title = format!("{} {}", name.text(), name.version());
    let title = title.trim();
    if let Some(obstacle) = name.obstacle(measure) {
        return format!("| {title} | {obstacle} | | | | | | | |");
    }
    let is_mine =
        |outcome: &&Outcome| outcome.store == name.text() && outcome.measure == measure.text();
    let mine: Vec<&Outcome> = outcomes.iter().filter(is_mine).collect();
    let written: Vec<Written> = mine.iter().filter_map(|outcome| outcome.written).collect();
    if written.is_empty() {
        return format!("| {title} | {} | | | | | | | |", kept(&mine));
    }
    let rate = sorted(&written, |written| written.records as f64 / written.seconds);
    let half = sorted(&written, |written| written.p50_ns as f64 / 1e3);
    let tail = sorted(&written, |written| {
        let tail_ns = if measure == Measure::Buffered { written.p999_ns } else { written.p99_ns };
        tail_ns as f64 / 1e3
    });
    let disk = sorted(&written, |written| written.write_bytes as f64 / written.records as f64);
    format!(
        "| {title} | {:.0} | **{:.0}** | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {} |",
        rate[0],
        median(&rate),
        rate[rate.len() - 1],
        median(&half),
        median(&tail),
        tail[tail.len() - 1],
        median(&disk),
        kept(&mine)
    )
}

fn sorted(written: &[Written], figure: impl Fn(&Written) -> f64) -> Vec<f64> {
    let mut figures: Vec<f64> = written.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// Whether every record came back, and if not, what happened.
fn kept(outcomes: &[&Outcome]) -> String {
    if let Some(failure) = outcomes.iter().find_map(|outcome| outcome.failure.as_ref()) {
        let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
        return format!("failed in {failures} of {} rounds: {failure}", outcomes.len());
    }
    let (mut lost, mut wrong) = (0, 0);
    for outcome in outcomes {
        if let (Some(written), Some(counted)) = (outcome.written, outcome.counted) {
            lost += written.records.saturating_sub(counted.sound);
            wrong += counted.wrong;
        }
    }
    match (lost, wrong) {
        (0, 0) => "all".to_owned(),
        _ => format!("LOST {lost}, {wrong} wrong or out of order"),
    }
}
