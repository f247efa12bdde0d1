//! A run as text for people: the command, the machine, rates, latencies, the ledger and the verdict.

use std::fmt::Write as _;

use tickwheel_engine::latency::{Latency, Stage, plot, table};

use super::{Report, Spans};
use crate::machine::Machine;

/// The report of a run; `latency` is what the table and plot of its stages are drawn from.
pub(crate) fn of_run(report: &Report, latency: Option<&Latency>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; so with all lines below.
    let _ = writeln!(text, "{}\n\n{}", report.command, of_machine(&report.machine));
    let achieved = &report.achieved;
    let _ = writeln!(
        text,
        "rates     submitted {:.0}/s · completed {:.0}/s · {:.3} s from the first submit to the end",
        achieved.submitted_per_s, achieved.completed_per_s, report.elapsed_s
    );
    text.push_str(&of_costs(report));
    if let Some(cpu_ns) = report.extra.get("server_cpu_ns_per_job") {
        let of = |name: &str| report.extra.get(name).copied().unwrap_or_default() as u64;
        let _ = writeln!(
            text,
            "server    {:.2} µs of processor a job · {} of memory at most · {} on the disk\n",
            cpu_ns / 1e3,
            mebibytes(of("server_rss_bytes")),
            mebibytes(of("server_disk_bytes"))
        );
    }
    let _ = writeln!(text, "measured by the generator, without warm-up");
    for (metric, spans) in &report.latency_ns {
        let _ = writeln!(text, "  {metric:<13}{}", of_spans(spans));
    }
    if let Some(latency) = latency {
        let _ = writeln!(text, "\nstages, by the target itself\n{}", table(latency));
        text.push_str(&plot("lateness of triggers", latency.stage(Stage::Lateness)));
    }
    let ledger = &report.ledger;
    let _ = writeln!(
        text,
        "\nledger    submitted {} · acked {} · completed {} · refused {} · cancelled {}\n          lost {} · duplicate {} · early {}",
        ledger.submitted,
        ledger.acked,
        ledger.completed,
        ledger.refused,
        ledger.cancelled,
        ledger.lost,
        ledger.duplicate,
        ledger.early
    );
    for fault in &report.faults {
        let _ = writeln!(
            text,
            "fault     {} at {:.2} s, served again at {:.2} s",
            fault.kind, fault.start_s, fault.end_s
        );
    }
    if let Some(refusal) = &report.first_refusal {
        let _ = writeln!(text, "          the first was refused because {refusal}");
    }
    if report.early_max_ns > 0 {
        let early_us = report.early_max_ns as f64 / 1e3;
        let _ = writeln!(text, "          the earliest ran {early_us:.1} µs before its due time");
    }
    if ledger.damaged > 0 {
        let _ = writeln!(text, "          {} came back with another payload", ledger.damaged);
    }
    text.push_str(&of_verdict(report));
    text
}

/// What a run took. A server tells nothing of its log.
fn of_costs(report: &Report) -> String {
    let (resources, log) = (&report.resources, &report.log);
    let cpu = format!("cost      {:.2} µs of processor a job", resources.cpu_ns_per_job / 1e3);
    let memory = format!("{} of memory at most", mebibytes(resources.rss_bytes));
    if log.appended_bytes == 0 {
        return format!("{cpu} · {memory}\n\n");
    }
    format!(
        "{cpu} · {:.0} bytes of log a job · {} syncs · {memory}\nlog       {} at the end · {} written again · {} segments given back · {} snapshots\n\n",
        resources.wal_bytes_per_job,
        log.syncs,
        mebibytes(log.bytes),
        mebibytes(log.moved_bytes),
        log.segments_released,
        log.snapshots
    )
}

/// The verdict, its reasons, and what else is to be known.
pub(crate) fn of_verdict(report: &Report) -> String {
    let mut text = format!("verdict   {}\n", report.verdict.outcome.name());
    for objective in &report.verdict.objectives {
        let mark = if objective.holds { "holds" } else { "missed" };
        let _ = writeln!(text, "          {} {mark}", objective.objective);
    }
    for reason in &report.verdict.reasons {
        let _ = writeln!(text, "          {}", reason.text);
    }
    for note in &report.notes {
        let _ = writeln!(text, "note      {note}");
    }
    text
}

/// One line for a run that is one of several.
pub(crate) fn one_line(report: &Report) -> String {
    let lateness = report.spans("lateness");
    let submit = report.spans("submit");
    let label = report
        .point
        .as_ref()
        .map_or(String::new(), |point| format!("{} {:>12}  ", point.axis, trimmed(point.value)));
    format!(
        "{label}completed {:>9.0}/s  lateness p50 {:>9} p99 {:>9} max {:>9}  submit p99 {:>9}  {}",
        report.achieved.completed_per_s,
        span(lateness.p50),
        span(lateness.p99),
        span(lateness.max),
        span(submit.p99),
        report.verdict.outcome.name()
    )
}

/// A number without needless digits.
pub(crate) fn trimmed(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// A machine and its limits, in two lines.
pub(crate) fn of_machine(machine: &Machine) -> String {
    let limits = &machine.limits;
    let syncs = &limits.write_and_sync_ns;
    format!(
        "machine   {}, {} cores, Linux {}, {}, {}, {} build\nlimits    copy and CRC32C of {} bytes {:.0} ns · write and fdatasync of 4 KiB p50 {:.0} µs, p99 {:.0} µs · clock {:.0} ns · timer late by {:.0} µs (p99)",
        machine.cpu,
        machine.cores,
        machine.kernel,
        mebibytes(machine.memory_bytes),
        machine.filesystem,
        machine.build,
        limits.record_bytes,
        limits.copy_and_crc_ns,
        syncs.p50 as f64 / 1e3,
        syncs.p99 as f64 / 1e3,
        limits.clock_read_ns,
        limits.timer_late_ns.p99 as f64 / 1e3
    )
}

fn of_spans(spans: &Spans) -> String {
    format!(
        "p50 {} · p90 {} · p99 {} · p99.9 {} · p99.99 {} · max {}",
        span(spans.p50),
        span(spans.p90),
        span(spans.p99),
        span(spans.p999),
        span(spans.p9999),
        span(spans.max)
    )
}

/// A span with three digits and its unit.
pub(crate) fn span(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
