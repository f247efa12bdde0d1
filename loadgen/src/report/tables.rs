//! The tables of a page. They show numbers as they are stored.

use super::{
    badge,
    figures::short,
    grouped,
    html::{escape, table},
    name_of,
};
use crate::{
    Machine,
    plan::Forecast,
    result::{
        Report, Spans,
        text::{mebibytes, span},
    },
};

/// One row per run.
pub(super) fn runs(reports: &[Report]) -> String {
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|one| {
            let (lateness, submit) = (one.spans("lateness"), one.spans("submit"));
            vec![
                escape(&name_of(one)),
                one.offered_per_s.map_or("–".to_owned(), grouped),
                rate(one.achieved.completed_per_s),
                of(lateness, lateness.p50),
                of(lateness, lateness.p99),
                of(lateness, lateness.max),
                of(submit, submit.p99),
                badge(one.verdict.outcome),
            ]
        })
        .collect();
    let heads =
        ["run", "offered/s", "completed/s", "lateness p50", "p99", "max", "submit p99", "verdict"];
    table(&heads, &rows)
}

fn rate(per_s: f64) -> String {
    if per_s > 0.0 { grouped(per_s) } else { "–".to_owned() }
}

fn of(spans: Spans, value: u64) -> String {
    if spans.count == 0 { "–".to_owned() } else { span(value) }
}

/// Why runs did not pass, and what else is to be known.
pub(super) fn reasons(reports: &[Report]) -> String {
    let item = |one: &Report, text: &str| {
        format!("<li>{}: {}</li>\n", escape(&name_of(one)), escape(text))
    };
    let (mut reasons, mut notes) = (String::new(), String::new());
    for one in reports {
        reasons.extend(one.verdict.reasons.iter().map(|reason| item(one, &reason.text)));
        notes.extend(one.notes.iter().map(|note| item(one, note)));
    }
    if !reasons.is_empty() {
        reasons = format!("<ul>\n{reasons}</ul>\n");
    }
    if !notes.is_empty() {
        notes =
            format!("<details><summary>Notes on the runs</summary><ul>\n{notes}</ul></details>\n");
    }
    reasons + &notes
}

/// The ledger of each run.
pub(super) fn ledgers(reports: &[Report]) -> String {
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|one| {
            let ledger = &one.ledger;
            let mut row = vec![escape(&name_of(one))];
            row.extend(
                [
                    ledger.submitted,
                    ledger.acked,
                    ledger.refused,
                    ledger.indeterminate,
                    ledger.completed,
                    ledger.cancelled,
                    ledger.outstanding,
                    ledger.lost,
                    ledger.duplicate,
                    ledger.early,
                ]
                .map(|count| grouped(count as f64)),
            );
            row
        })
        .collect();
    let heads = [
        "run",
        "submitted",
        "acked",
        "refused",
        "unknown",
        "completed",
        "cancelled",
        "outstanding",
        "lost",
        "duplicate",
        "early",
    ];
    table(&heads, &rows)
}

/// What the stages of a run took.
pub(super) fn stages(run: &Report) -> String {
    let Some(stages) = &run.stages_ns else {
        return String::new();
    };
    let row = |name: &str, spans: Spans| {
        let values = [spans.p50, spans.p90, spans.p99, spans.p999, spans.max];
        let mut row = vec![escape(name)];
        row.extend(values.map(|value| of(spans, value)));
        row
    };
    let rows: Vec<_> = stages.all().into_iter().map(|(name, spans)| row(name, spans)).collect();
    table(&["stage, by the target itself", "p50", "p90", "p99", "p99.9", "max"], &rows)
}

/// What a run took.
pub(super) fn costs(run: &Report) -> String {
    let (resources, log) = (&run.resources, &run.log);
    let fresh = log.appended_bytes.saturating_sub(log.moved_bytes);
    let amplification = if fresh == 0 {
        "–".to_owned()
    } else {
        format!("{:.3}", log.appended_bytes as f64 / fresh as f64)
    };
    let per_sync = match log.syncs {
        0 => "–".to_owned(),
        syncs => short(run.ledger.completed as f64 / syncs as f64),
    };
    let rows = [
        ("processor time a job", format!("{:.2} µs", resources.cpu_ns_per_job / 1e3)),
        ("processors busy on average", format!("{:.2}", resources.cpus_busy)),
        ("log a job", format!("{:.0} bytes", resources.wal_bytes_per_job)),
        ("write amplification by cleaning", amplification),
        ("jobs a sync", per_sync),
        ("log at the end", mebibytes(log.bytes)),
        ("most memory, mapped log and generator included", mebibytes(resources.rss_bytes)),
        ("time the target held the generator", format!("{:.1} %", resources.held_share * 100.0)),
        (
            "processor time taken by other machines",
            format!("{:.1} %", resources.steal_share * 100.0),
        ),
        ("and by other processes", format!("{:.1} %", resources.others_share * 100.0)),
    ];
    // Its own memory and time say little of a server in another process.
    let of_server = |name: &str| run.extra.get(name).copied();
    let server = [
        ("the server: processor time a job", "server_cpu_ns_per_job", 1e3, "µs"),
        ("the server: most memory, mapped log included", "server_rss_bytes", 1_048_576.0, "MiB"),
        ("the server: its data on the disk", "server_disk_bytes", 1_048_576.0, "MiB"),
    ];
    let server = server.into_iter().filter_map(|(what, name, unit, sign)| {
        Some((what, format!("{:.2} {sign}", of_server(name)? / unit)))
    });
    // A server tells nothing of its log.
    let has_log = log.appended_bytes > 0;
    let of_log = ["log a job", "write amplification by cleaning", "jobs a sync", "log at the end"];
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|(name, _)| has_log || !of_log.contains(name))
        .chain(server)
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    format!("<p></p>{}", table(&["cost", ""], &rows))
}

/// The machine and its limits.
pub(super) fn machine(machine: &Machine) -> String {
    let limits = &machine.limits;
    let (syncs, timer) = (&limits.write_and_sync_ns, &limits.timer_late_ns);
    let rows = [
        ("processor", format!("{}, {} cores", escape(&machine.cpu), machine.cores)),
        ("memory", mebibytes(machine.memory_bytes)),
        ("kernel", format!("Linux {}", escape(&machine.kernel))),
        ("file system", escape(&machine.filesystem)),
        (
            "this program",
            format!("{} ({} build)", escape(&machine.version), escape(&machine.build)),
        ),
        (
            "write and fdatasync of 4 KiB",
            format!("p50 {}, p99 {}, max {}", span(syncs.p50), span(syncs.p99), span(syncs.max)),
        ),
        (
            "copy and CRC32C",
            format!("{:.0} ns for {} bytes", limits.copy_and_crc_ns, limits.record_bytes),
        ),
        ("clock", format!("{:.0} ns a read", limits.clock_read_ns)),
        ("timer", format!("late by p50 {}, p99 {}", span(timer.p50), span(timer.p99))),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table(&["machine", ""], &rows)
}

/// What a reader must not conclude.
pub(super) fn not_measured(reports: &[Report]) -> String {
    let mut texts = vec![
        "Other machines, file systems and payloads: the figures hold for the one above.".to_owned(),
        "Power cuts: what survives them is tested elsewhere and was not part of these runs."
            .to_owned(),
    ];
    if reports.iter().any(|one| one.target == "inproc") {
        texts.push(
            "The network: the target was a library in the generator's own process, and both shared its processors."
                .to_owned(),
        );
    }
    if reports.iter().any(|one| one.target == "serve" || one.target.starts_with("tcp://")) {
        texts.push(
            "A network: where the server ran on the same machine, its traffic was the loopback's, and both shared the processors."
                .to_owned(),
        );
    }
    let longest = reports.iter().map(|one| one.elapsed_s).fold(0.0, f64::max);
    texts.push(format!(
        "Anything that shows only after longer than {longest:.0} s, the longest run here."
    ));
    if reports.iter().any(|one| one.machine.build == "debug") {
        texts.push(
            "Speed: this was a debug build, which is many times slower than a release.".to_owned(),
        );
    }
    if reports.iter().all(|one| one.verb != "recover") {
        texts.push("How long a restart takes: `recover` measures it.".to_owned());
    }
    let items: String = texts.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// Matched runs of two sets.
pub(super) fn side_by_side(names: [&str; 2], reports: [&[Report]; 2]) -> String {
    let [ones, others] = reports;
    let mut rows = Vec::new();
    for one in ones {
        let Some(other) = others.iter().find(|other| name_of(other) == name_of(one)) else {
            rows.push(vec![escape(&name_of(one)), "only in the first".to_owned()]);
            continue;
        };
        let name = escape(&name_of(one));
        let mut add = |what: &str, values: [f64; 2], text: &dyn Fn(f64) -> String| {
            let [a, b] = values;
            let ratio = if a > 0.0 { format!("{:.2}", b / a) } else { "–".to_owned() };
            rows.push(vec![format!("{name}, {}", escape(what)), text(a), text(b), ratio]);
        };
        let rate = |report: &Report| report.achieved.completed_per_s;
        add("completed a second", [rate(one), rate(other)], &grouped);
        for metric in ["lateness", "submit"] {
            let spans = [one.spans(metric), other.spans(metric)];
            let ns = |value: f64| span(value as u64);
            add(&format!("{metric} p50"), spans.map(|spans| spans.p50 as f64), &ns);
            add(&format!("{metric} p99"), spans.map(|spans| spans.p99 as f64), &ns);
            add(&format!("{metric} max"), spans.map(|spans| spans.max as f64), &ns);
        }
        let cpu = [one, other].map(|report| report.resources.cpu_ns_per_job);
        add("processor time a job", cpu, &|ns| span(ns as u64));
        let verdicts = [one, other].map(|report| badge(report.verdict.outcome));
        let [a, b] = verdicts;
        rows.push(vec![format!("{name}, verdict"), a, b, String::new()]);
    }
    for other in others {
        if !ones.iter().any(|one| name_of(one) == name_of(other)) {
            rows.push(vec![
                escape(&name_of(other)),
                String::new(),
                "only in the second".to_owned(),
            ]);
        }
    }
    table(&["", names[0], names[1], "ratio"], &rows)
}

/// Peaks and simulated lateness of a forecast.
pub(super) fn forecast(forecast: &Forecast) -> String {
    let late = |name: &str, shape: &crate::plan::Shape| {
        let late = &shape.lateness;
        let seconds = |value: f64| format!("{value:.3} s");
        vec![
            name.to_owned(),
            seconds(late.p50_s),
            seconds(late.p99_s),
            seconds(late.p999_s),
            seconds(late.max_s),
            grouped(late.backlog_max as f64),
        ]
    };
    let rows = [late("as they are", &forecast.now), late("with jitter", &forecast.jittered)];
    let source = if forecast.is_capacity_measured { "measured" } else { "assumed" };
    let lateness = format!(
        "<h2>Lateness at the peaks, simulated</h2>\n<p class=\"soft\">If {} triggers a second are started ({source}).</p>\n{}",
        grouped(forecast.capacity_per_s),
        table(&["", "p50", "p99", "p99.9", "max", "waiting at most"], &rows)
    );
    let peaks: Vec<Vec<String>> = forecast
        .now
        .peaks
        .iter()
        .map(|peak| {
            let at_ns = peak.unix_s.saturating_mul(1_000_000_000);
            let at = tickwheel_engine::cron::format_time(at_ns, "UTC");
            vec![at.unwrap_or_else(|_| peak.unix_s.to_string()), grouped(f64::from(peak.triggers))]
        })
        .collect();
    format!("{lateness}<h2>Peaks</h2>\n{}", table(&["second", "triggers"], &peaks))
}
