//! A report as text for people: the command, the machine, rates, latencies and the ledger.

use std::fmt::Write as _;

use tickwheel_engine::latency::{Latency, Stage, plot, table};

use crate::{
    machine::Machine,
    report::{Report, Spans},
};

/// The report of a run; `latency` is what its table and plot are drawn from.
pub(crate) fn of_run(report: &Report, latency: &Latency) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; so with all lines below.
    let _ = writeln!(text, "{}\n\n{}", report.command, of_machine(&report.machine));
    let achieved = &report.achieved;
    let _ = writeln!(
        text,
        "rates     submitted {:.0}/s · completed {:.0}/s · {:.3} s from the first submit to the end",
        achieved.submitted_per_s, achieved.completed_per_s, report.elapsed_s
    );
    let resources = &report.resources;
    let _ = writeln!(
        text,
        "cost      {:.2} µs of processor a job · {:.0} bytes of log a job · {} syncs · {} of memory at most\nlog       {} at the end · {} written again · {} segments given back · {} snapshots\n",
        resources.cpu_ns_per_job / 1e3,
        resources.wal_bytes_per_job,
        report.syncs,
        mebibytes(resources.rss_bytes),
        mebibytes(report.log.bytes),
        mebibytes(report.log.moved_bytes),
        report.log.segments_released,
        report.log.snapshots
    );
    text.push_str(&table(latency));
    if let Some(lateness) = &report.generator_lateness {
        let _ = writeln!(
            text,
            "\nsubmit_ack above counts from the call; from the planned moment it is\n  {}\nthe generator itself was late by\n  {}",
            spans(&report.latency_ns.submit_ack),
            spans(lateness)
        );
    }
    let _ = writeln!(text, "\n{}", plot("lateness", latency.stage(Stage::Lateness)));
    let ledger = &report.ledger;
    let _ = writeln!(
        text,
        "ledger    submitted {} · acked {} · completed {} · refused {}\n          lost {} · duplicate {} · early {}",
        ledger.submitted,
        ledger.acked,
        ledger.completed,
        report.refused,
        ledger.lost,
        ledger.duplicate,
        ledger.early
    );
    if let Some(refusal) = &report.first_refusal {
        let _ = writeln!(text, "          the first was refused because {refusal}");
    }
    if report.early_max_ns > 0 {
        let early_us = report.early_max_ns as f64 / 1e3;
        let _ = writeln!(text, "          the earliest ran {early_us:.1} µs before its due time");
    }
    if report.damaged > 0 {
        let _ = writeln!(text, "          {} came back with another payload", report.damaged);
    }
    text
}

/// A machine and its limits, in two lines.
pub(crate) fn of_machine(machine: &Machine) -> String {
    let limits = &machine.limits;
    let syncs = &limits.write_and_sync_ns;
    format!(
        "machine   {}, {} cores, Linux {}, {}, {}\nlimits    copy and CRC32C of {} bytes {:.0} ns · write and fdatasync of 4 KiB p50 {:.0} µs, p99 {:.0} µs · clock {:.0} ns",
        machine.cpu,
        machine.cores,
        machine.kernel,
        mebibytes(machine.memory_bytes),
        machine.filesystem,
        limits.record_bytes,
        limits.copy_and_crc_ns,
        syncs.p50 as f64 / 1e3,
        syncs.p99 as f64 / 1e3,
        limits.clock_read_ns
    )
}

fn spans(spans: &Spans) -> String {
    let us = |ns: u64| ns as f64 / 1e3;
    format!(
        "p50 {:.1} µs · p90 {:.1} µs · p99 {:.1} µs · p99.9 {:.1} µs · p99.99 {:.1} µs · max {:.1} µs",
        us(spans.p50),
        us(spans.p90),
        us(spans.p99),
        us(spans.p999),
        us(spans.p9999),
        us(spans.max)
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
