//! Which charts results have: figures with a title, a legend and a sentence. It picks numbers, and draws
//! nothing itself.

use super::{
    chart::{Axis, Chart, Shape},
    html::escape,
};
use crate::{
    plan::Forecast,
    result::{Report, text::span},
};

/// Points of a series.
type Points = Vec<(f64, f64)>;

/// A figure, ready to stand in a page; empty if there is nothing to draw.
fn figure(title: &str, names: &[&str], chart: &Chart, caption: &str) -> String {
    let legend: String = if names.len() > 1 {
        let keys = names.iter().enumerate().map(|(index, name)| {
            format!("<span><i class=\"k{}\"></i>{}</span>", index % 4, escape(name))
        });
        format!("<div class=\"legend\">{}</div>", keys.collect::<String>())
    } else {
        String::new()
    };
    format!(
        "<figure><h3>{}</h3>{legend}<div class=\"scroll\">{}</div><figcaption>{}</figcaption></figure>\n",
        escape(title),
        chart.svg(),
        escape(caption)
    )
}

/// A figure of lines with nanoseconds on a log axis.
fn spans(
    title: &str,
    x: Axis,
    series: &[(&str, Points)],
    marks: Vec<Shape>,
    caption: &str,
) -> String {
    let values = || series.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (low, high) = (
        values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min),
        values().fold(0.0, f64::max),
    );
    if !low.is_finite() {
        return String::new();
    }
    // Bands lie under the lines.
    let (bands, marks): (Vec<Shape>, Vec<Shape>) =
        marks.into_iter().partition(|shape| matches!(shape, Shape::Band { .. }));
    let lines = series.iter().enumerate().map(|(index, (_, points))| match points.len() {
        // A curve is smooth enough without its points.
        40.. => Shape::Line { series: index, points: points.clone() },
        _ => Shape::Dots { series: index, points: points.clone() },
    });
    let shapes: Vec<Shape> = bands.into_iter().chain(lines).chain(marks).collect();
    let names: Vec<&str> = series.iter().map(|(name, _)| *name).collect();
    let y = Axis::log("", low, high, |ns| span(ns as u64));
    figure(title, &names, &Chart { x, y, shapes }, caption)
}

/// Latency by percentile, one line per metric of a run.
pub(super) fn percentiles(report: &Report) -> String {
    let of = |metric: &'static str| {
        let points = report.curves.get(metric)?;
        Some((metric, points.iter().map(|(nines, ns)| (*nines, *ns as f64)).collect::<Points>()))
    };
    let series: Vec<_> = ["lateness", "submit", "complete"].into_iter().filter_map(of).collect();
    let caption = "How long the given share of jobs took at most. From planned moments, so that no stall \
                   is hidden.";
    spans("Latency by percentile", Axis::nines(), &series, Vec::new(), caption)
}

/// The same metric of two results.
pub(super) fn two_curves(names: [&str; 2], reports: [&Report; 2], metric: &str) -> String {
    let series: Vec<_> = names
        .into_iter()
        .zip(reports)
        .filter_map(|(name, report)| {
            let points = report.curves.get(metric)?;
            Some((name, points.iter().map(|(nines, ns)| (*nines, *ns as f64)).collect::<Points>()))
        })
        .collect();
    let title = format!("{metric} by percentile");
    spans(&title, Axis::nines(), &series, Vec::new(), "Each curve is one run; nothing is averaged.")
}

/// Runs with a rate, in its order.
fn by_rate(reports: &[Report]) -> Vec<(f64, &Report)> {
    let rated = |report: &'_ Report| {
        report.point.as_ref().filter(|point| point.axis == "rate_per_s").map(|point| point.value)
    };
    let mut runs: Vec<_> =
        reports.iter().filter_map(|report| Some((rated(report)?, report))).collect();
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    runs
}

/// Latency against load, with saturation marked.
pub(super) fn against_load(reports: &[Report]) -> String {
    let runs = by_rate(reports);
    let (Some((low, _)), Some((high, _))) = (runs.first(), runs.last()) else {
        return String::new();
    };
    if runs.len() < 2 {
        return String::new();
    }
    let of = |pick: fn(&Report) -> u64| -> Points {
        runs.iter()
            .map(|(rate, report)| (*rate, pick(report) as f64))
            .filter(|p| p.1 > 0.0)
            .collect()
    };
    let series = [
        ("lateness p99", of(|report| report.spans("lateness").p99)),
        ("submit p99", of(|report| report.spans("submit").p99)),
        ("lateness p50", of(|report| report.spans("lateness").p50)),
    ];
    let held = reports.iter().rev().find_map(|one| one.extra.get("saturation_per_s"));
    let marks = held.map(|rate| Shape::Mark { at: *rate, words: format!("{rate:.0}/s held") });
    let x = Axis::log("jobs a second offered", *low, *high, short);
    let caption = "Each dot is a run of its own. Both axes are logarithmic.";
    spans("Latency against load", x, &series, marks.into_iter().collect(), caption)
}

/// Offered against achieved rates.
pub(super) fn offered_achieved(reports: &[Report]) -> String {
    let runs = by_rate(reports);
    let Some((high, _)) = runs.last().filter(|_| runs.len() > 1) else {
        return String::new();
    };
    let points = |pick: fn(&Report) -> f64| -> Points {
        runs.iter().map(|(rate, report)| (*rate, pick(report))).collect()
    };
    let completed = points(|report| report.achieved.completed_per_s);
    let submitted = points(|report| report.achieved.submitted_per_s);
    let chart = Chart {
        x: Axis::linear("jobs a second offered", *high, short),
        y: Axis::linear("", *high, short),
        shapes: vec![
            Shape::Dots { series: 0, points: completed },
            Shape::Dots { series: 1, points: submitted },
        ],
    };
    let caption = "Where the lines leave the diagonal, the offered rate was not reached.";
    figure("Offered and achieved", &["completed", "submitted"], &chart, caption)
}

/// What happened over time in one run.
pub(super) fn over_time(report: &Report) -> String {
    let intervals = &report.intervals;
    if intervals.len() < 3 {
        return String::new();
    }
    let end_s = intervals.last().map_or(1.0, |last| last.start_s + last.len_s);
    let x = || Axis::linear("seconds since the start", end_s, short);
    let of = |pick: fn(&crate::result::Interval) -> u64| -> Points {
        let points = intervals.iter().map(|one| (one.start_s + one.len_s / 2.0, pick(one) as f64));
        points.filter(|point| point.1 > 0.0).collect()
    };
    let lateness = spans(
        "Lateness over time",
        x(),
        &[
            ("p50", of(|one| one.lateness_p50_ns)),
            ("p99", of(|one| one.lateness_p99_ns)),
            ("max", of(|one| one.lateness_max_ns)),
        ],
        bands(report),
        "By interval; percentiles of intervals are never put together.",
    );
    let rate = |pick: fn(&crate::result::Interval) -> u64| -> Points {
        let whole = intervals.iter().filter(|one| one.len_s > 0.2);
        whole.map(|one| (one.start_s + one.len_s / 2.0, pick(one) as f64 / one.len_s)).collect()
    };
    let (submitted, completed) = (rate(|one| one.submitted), rate(|one| one.completed));
    let high = submitted.iter().chain(&completed).map(|point| point.1).fold(0.0, f64::max);
    let mut shapes = bands(report);
    shapes.push(Shape::Line { series: 0, points: completed });
    shapes.push(Shape::Line { series: 1, points: submitted });
    let chart = Chart { x: x(), y: Axis::linear("", high, short), shapes };
    let caption = "Jobs a second in each interval.";
    let rates = figure("Rates over time", &["completed", "submitted"], &chart, caption);
    let backlog: Points =
        intervals.iter().map(|one| (one.start_s + one.len_s, one.backlog as f64)).collect();
    let high = backlog.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut shapes = bands(report);
    shapes.push(Shape::Line { series: 0, points: backlog });
    let chart = Chart { x: x(), y: Axis::linear("", high, short), shapes };
    let caption = "Jobs accepted and not ended, at the end of each interval. For a herd or a drain this \
                   is how it empties.";
    lateness + &rates + &figure("Backlog over time", &["backlog"], &chart, caption) + &heat(report)
}

/// What was done to the target on purpose, as stretches of time.
fn bands(report: &Report) -> Vec<Shape> {
    let band = |fault: &crate::result::FaultBand| Shape::Band {
        from: fault.start_s,
        to: fault.end_s,
        words: fault.kind.clone(),
    };
    report.faults.iter().map(band).collect()
}

/// How a herd was worked off: what share of it had started, by the time since its instant.
pub(super) fn herd(report: &Report) -> String {
    let Some(curve) = report.curves.get("lateness").filter(|_| report.verb == "herd") else {
        return String::new();
    };
    let mut points: Points = curve
        .iter()
        .map(|(nines, ns)| (*ns as f64 / 1e6, 100.0 * (1.0 - 10_f64.powf(-nines))))
        .collect();
    // The curve ends where a single job is left; that one came last.
    points.push((report.spans("lateness").max as f64 / 1e6, 100.0));
    let high = points.iter().map(|point| point.0).fold(0.0, f64::max);
    let chart = Chart {
        x: Axis::linear("milliseconds since the instant", high, short),
        y: Axis::linear("", 100.0, |value| format!("{value:.0} %")),
        shapes: vec![Shape::Line { series: 0, points }],
    };
    let caption = "Share of the herd whose handlers had started.";
    figure("How the herd drains", &["started"], &chart, caption)
}

/// How long the syncs of a run took.
pub(super) fn syncs(report: &Report) -> String {
    let counts = &report.syncs_by_time;
    let Some(first) = counts.iter().position(|count| *count > 0) else {
        return String::new();
    };
    let names: Vec<String> =
        (first..counts.len()).map(|class| span(1_u64 << class.min(63))).collect();
    let columns = counts[first..].iter().enumerate().map(|(index, count)| Shape::Column {
        series: 0,
        from: index as f64 - 0.45,
        to: index as f64 + 0.45,
        value: *count as f64,
    });
    let high = counts.iter().copied().max().unwrap_or(0) as f64;
    let chart = Chart {
        x: Axis::columns("from", &names),
        y: Axis::linear("", high, short),
        shapes: columns.collect(),
    };
    let caption = "Syncs of the log by how long they took, each column up to twice its beginning.";
    figure("Sync times", &["syncs"], &chart, caption)
}

/// What the log took of each run, and what keeping it short added.
pub(super) fn log_costs(reports: &[Report]) -> String {
    let runs: Vec<&Report> =
        reports.iter().filter(|one| one.resources.wal_bytes_per_job > 0.0).collect();
    if runs.len() < 2 {
        return String::new();
    }
    let names: Vec<String> = (1..=runs.len()).map(|number| number.to_string()).collect();
    let columns = |pick: fn(&Report) -> f64, text: fn(f64) -> String| {
        let shapes = runs.iter().enumerate().map(|(index, run)| Shape::Column {
            series: 0,
            from: index as f64 - 0.4,
            to: index as f64 + 0.4,
            value: pick(run),
        });
        let high = runs.iter().map(|run| pick(run)).fold(0.0, f64::max);
        Chart {
            x: Axis::columns("run, in the order of the table", &names),
            y: Axis::linear("", high, text),
            shapes: shapes.collect(),
        }
    };
    let bytes =
        columns(|run| run.resources.wal_bytes_per_job, |value| format!("{} B", short(value)));
    let amplified = columns(write_amplification, short);
    let caption = "Bytes appended to the log for each completed job, those written again included.";
    figure("Log a job", &["bytes"], &bytes, caption)
        + &figure(
            "Write amplification",
            &["factor"],
            &amplified,
            "Bytes appended over those that the jobs themselves caused; 1 where nothing was written again.",
        )
}

/// Bytes appended over those of them that were not written again.
fn write_amplification(report: &Report) -> f64 {
    let fresh = report.log.appended_bytes.saturating_sub(report.log.moved_bytes);
    if fresh == 0 { 1.0 } else { report.log.appended_bytes as f64 / fresh as f64 }
}

/// Lateness as a heat map over time.
fn heat(report: &Report) -> String {
    let rows = report.intervals.iter().map(|one| one.lateness_heat.len()).max().unwrap_or(0);
    let most = report.intervals.iter().flat_map(|one| &one.lateness_heat).max().copied();
    let (Some(most), Some(last)) = (most.filter(|most| *most > 0), report.intervals.last()) else {
        return String::new();
    };
    let mut shapes = bands(report);
    for one in &report.intervals {
        for (row, count) in one.lateness_heat.iter().enumerate().filter(|(_, count)| **count > 0) {
            let low_ns = if row == 0 { 0.0 } else { 1000.0 * 2_f64.powi(row as i32) };
            let high_ns = 1000.0 * 2_f64.powi(row as i32 + 1);
            // The logarithm shows the few beside the many.
            let heat = 0.12 + 0.88 * (*count as f64).ln_1p() / (most as f64).ln_1p();
            shapes.push(Shape::Cell {
                from: (one.start_s, low_ns),
                to: (one.start_s + one.len_s, high_ns),
                heat,
            });
        }
    }
    let chart = Chart {
        x: Axis::linear("seconds since the start", last.start_s + last.len_s, short),
        y: Axis::log("", 1000.0, 1000.0 * 2_f64.powi(rows as i32), |ns| span(ns as u64)),
        shapes,
    };
    let caption =
        "Starts by lateness, in doublings. The darker, the more; the scale is logarithmic.";
    figure("Lateness, all of it", &["starts"], &chart, caption)
}

/// Lateness of each tenant's jobs.
pub(super) fn tenants(report: &Report) -> String {
    if report.tenants.len() < 2 {
        return String::new();
    }
    let names: Vec<String> = report.tenants.iter().map(|one| one.tenant.to_string()).collect();
    let high = report.tenants.iter().map(|one| one.p99_ns).max().unwrap_or(0) as f64;
    let columns = report.tenants.iter().enumerate().map(|(index, one)| Shape::Column {
        series: 0,
        from: index as f64 - 0.4,
        to: index as f64 + 0.4,
        value: one.p99_ns as f64,
    });
    let chart = Chart {
        x: Axis::columns("tenant", &names),
        y: Axis::linear("", high, |ns| span(ns as u64)),
        shapes: columns.collect(),
    };
    figure("Lateness p99 of each tenant", &["p99"], &chart, "Two digits are kept for these.")
}

/// What verbs with an axis of their own measured.
pub(super) fn by_axis(reports: &[Report]) -> String {
    let on = |axis: &'static str| {
        let on_axis =
            |report: &&Report| report.point.as_ref().is_some_and(|point| point.axis == axis);
        let mut runs: Vec<&Report> = reports.iter().filter(on_axis).collect();
        let at = |report: &Report| report.point.as_ref().map_or(0.0, |point| point.value);
        runs.sort_by(|one, other| at(one).total_cmp(&at(other)));
        runs.into_iter().map(|report| (at(report), report)).collect::<Vec<_>>()
    };
    let mut html = String::new();
    let recovered = on("pending");
    if recovered.len() > 1 {
        let serve: Points = recovered
            .iter()
            .map(|(_, one)| {
                let of = |name: &str| one.extra.get(name).copied().unwrap_or(0.0);
                (of("disk_bytes") / f64::from(1 << 20), of("serve_s"))
            })
            .collect();
        let memory: Points = recovered
            .iter()
            .map(|(jobs, one)| (*jobs, one.resources.rss_bytes as f64 / f64::from(1 << 20)))
            .collect();
        let seconds = |value: f64| format!("{} s", short(value));
        let caption = "From the start of the engine until it has taken a job.";
        html += &line("Time to serve by log size", "MiB on disk", serve, seconds, caption);
        let caption = "Right after the start, mapped log included.";
        let mebibytes = |value: f64| format!("{} MiB", short(value));
        html += &line("Memory by pending jobs", "jobs pending", memory, mebibytes, caption);
    }
    let scaled = on("shards");
    if scaled.len() > 1 {
        let points =
            scaled.iter().map(|(shards, one)| (*shards, one.achieved.completed_per_s)).collect();
        let caption = "The same load on each number of shards.";
        html += &line("Completed a second by shards", "shards", points, short, caption);
    }
    html
}

fn line(
    title: &str,
    label: &str,
    points: Points,
    text: impl Fn(f64) -> String,
    caption: &str,
) -> String {
    let high = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).fold(0.0, f64::max);
    let chart = Chart {
        x: Axis::linear(label, high(|point| point.0), short),
        y: Axis::linear("", high(|point| point.1), text),
        shapes: vec![Shape::Dots { series: 0, points: points.clone() }],
    };
    figure(title, &[title], &chart, caption)
}

/// The calendar of a forecast.
pub(super) fn forecast(forecast: &Forecast) -> String {
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
    let shapes = [&forecast.now, &forecast.jittered];
    let columns = shapes.iter().enumerate().flat_map(|(series, shape)| {
        shape.by_hour.iter().enumerate().map(move |(hour, count)| {
            let from = hour as f64 - 0.4 + 0.4 * series as f64;
            Shape::Column { series, from, to: from + 0.38, value: f64::from(*count) }
        })
    });
    let high = f64::from(forecast.now.by_hour.iter().copied().max().unwrap_or(1));
    let names = ["as they are", "with the proposed jitter"];
    let chart = Chart {
        x: Axis::columns("hour of the day, UTC", &hours),
        y: Axis::linear("", high, short),
        shapes: columns.collect(),
    };
    let caption = "Triggers in the busiest second of each hour of the day, over all days.";
    let by_hour = figure("Busiest seconds by hour", &names, &chart, caption);
    let lines = shapes.iter().enumerate().map(|(series, shape)| Shape::Line {
        series,
        points: shape
            .timeline
            .iter()
            .enumerate()
            .map(|(hour, count)| (hour as f64 / 24.0, f64::from(*count)))
            .collect(),
    });
    let chart = Chart {
        x: Axis::linear("days from the start", forecast.now.timeline.len() as f64 / 24.0, short),
        y: Axis::linear("", high, short),
        shapes: lines.collect(),
    };
    let caption = "Triggers in the busiest second of each hour ahead.";
    let ahead = figure("The span ahead", &names, &chart, caption);
    let minutes: Vec<String> = (0..60).map(|minute| format!("{minute:02}")).collect();
    let top = shapes.iter().flat_map(|shape| &shape.by_minute).copied().fold(0.0, f64::max);
    let columns = shapes.iter().enumerate().flat_map(|(series, shape)| {
        shape.by_minute.iter().enumerate().map(move |(minute, share)| {
            let from = minute as f64 - 0.4 + 0.4 * series as f64;
            Shape::Column { series, from, to: from + 0.38, value: *share * 100.0 }
        })
    });
    let chart = Chart {
        x: Axis::columns("minute of the hour", &minutes),
        y: Axis::linear("", top * 100.0, |value| format!("{} %", short(value))),
        shapes: columns.collect(),
    };
    let by_minute = figure("Share of triggers by minute", &names, &chart, "Of all triggers ahead.");
    by_hour + &ahead + &by_minute
}

/// A number in few signs.
pub(super) fn short(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let text = format!("{value:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}{unit}")
    };
    match value {
        ..1e4 => trimmed(value, ""),
        ..1e6 => trimmed(value / 1e3, " k"),
        ..1e9 => trimmed(value / 1e6, " M"),
        _ => trimmed(value / 1e9, " G"),
    }
}
