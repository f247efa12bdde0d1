//! One page from stored results: the sentence that matters, tables, charts, the ledger, limits and what
//! was not measured. It needs nothing from elsewhere, and averages no percentiles.

mod chart;
mod figures;
mod html;
mod tables;

use crate::{
    plan::Plan,
    result::{Report, text::span},
    verdict::Outcome,
};
use html::{escape, page as frame, table};

/// How many times the mean rate the peak of a day is taken to have, in the sentence that matters.
const PEAK_FACTOR: f64 = 3.0;
const DAY_S: f64 = 86_400.0;

/// A page about `reports`, in the order in which they were made.
#[must_use]
pub fn page(reports: &[Report]) -> String {
    let Some(main) = main_run(reports) else {
        return frame("Tickwheel: no results", "<p>There are no results.</p>", &reports);
    };
    let mut body = format!(
        "<h1>Tickwheel, measured</h1>\n<p class=\"claim\">{}</p>\n<p>{}</p>\n",
        escape(&sentence(main)),
        outcomes(reports, main)
    );
    body += "<h2>Runs</h2>\n";
    body += &tables::runs(reports);
    body += &tables::reasons(reports);
    let charts = [
        figures::against_load(reports),
        figures::offered_achieved(reports),
        figures::by_axis(reports),
        figures::percentiles(main),
        figures::over_time(main),
        figures::herd(main),
        figures::tenants(main),
        figures::syncs(main),
        figures::log_costs(reports),
    ]
    .concat();
    if !charts.is_empty() {
        body += &format!(
            "<h2>Charts</h2>\n<p class=\"soft\">Percentiles, time, tenants and syncs are of this run: {}.</p>\n<div class=\"grid\">\n{charts}</div>\n",
            escape(&name_of(main))
        );
    }
    body += "<h2>The ledger</h2>\n<p class=\"soft\">Kept by the generator and the handlers, without asking the target.</p>\n";
    body += &tables::ledgers(reports);
    body += "<h2>Stages and costs</h2>\n";
    body += &tables::stages(main);
    body += &tables::costs(main);
    body += "<h2>Machine and commands</h2>\n";
    body += &tables::machine(&main.machine);
    let mut commands: Vec<&str> = reports.iter().map(|one| one.command.as_str()).collect();
    commands.dedup();
    body += &format!("<pre>{}</pre>\n", escape(&commands.join("\n")));
    body += "<h2>What this does not say</h2>\n";
    body += &tables::not_measured(reports);
    frame("Tickwheel, measured", &body, &reports)
}

/// A page with two sets of results side by side. Runs are matched by verb and place on its axis.
#[must_use]
pub fn compare(names: [&str; 2], reports: [&[Report]; 2]) -> String {
    let [one, other] = reports;
    let mut body = format!(
        "<h1>Tickwheel, compared</h1>\n<p class=\"claim\">{} and {}</p>\n",
        escape(names[0]),
        escape(names[1])
    );
    if let (Some(a), Some(b)) = (main_run(one), main_run(other)) {
        if a.machine.cpu != b.machine.cpu || a.machine.filesystem != b.machine.filesystem {
            body += "<p class=\"missed\">The two were measured on different machines: the difference may be theirs.</p>\n";
        }
        body += &format!(
            "<ul><li>{}</li><li>{}</li></ul>\n",
            escape(&sentence(a)),
            escape(&sentence(b))
        );
        body += "<div class=\"grid\">\n";
        for metric in ["lateness", "submit", "complete"] {
            body += &figures::two_curves(names, [a, b], metric);
        }
        body += "</div>\n";
    }
    body += "<h2>Run by run</h2>\n<p class=\"soft\">Second beside first, and their ratio. Nothing is averaged.</p>\n";
    body += &tables::side_by_side(names, reports);
    for (name, reports) in names.iter().zip(reports) {
        if let Some(main) = main_run(reports) {
            body += &format!("<h2>{}</h2>\n", escape(name));
            body += &tables::machine(&main.machine);
            body += &format!("<pre>{}</pre>\n", escape(&main.command));
        }
    }
    frame("Tickwheel, compared", &body, &reports)
}

/// A page about a plan.
#[must_use]
pub fn plan_page(plan: &Plan) -> String {
    let mut body = format!(
        "<h1>Tickwheel, planned</h1>\n<p class=\"claim\">{}</p>\n",
        escape(&plan.fit.sentence)
    );
    if !plan.fit.predictions.is_empty() {
        let rows: Vec<Vec<String>> = plan
            .fit
            .predictions
            .iter()
            .map(|one| {
                let mark = if one.is_extrapolated {
                    " <span class=\"missed\">extrapolated</span>"
                } else {
                    ""
                };
                vec![
                    escape(&one.name),
                    format!("{}{mark}", escape(&one.predicted)),
                    escape(&one.measured),
                ]
            })
            .collect();
        body += &table(&["", "predicted", "measured"], &rows);
    }
    if let Some(forecast) = &plan.forecast {
        body += &format!(
            "<h2>The calendar</h2>\n<p>{} schedules trigger {} times in {} days. With jitter of up to {} s, and at most a quarter of each schedule's shortest gap, the busiest second falls from {} to {} triggers.</p>\n",
            forecast.schedules,
            forecast.triggers,
            plan.days,
            forecast.jitter_max_s,
            forecast.now.by_hour.iter().max().copied().unwrap_or(0),
            forecast.jittered.by_hour.iter().max().copied().unwrap_or(0)
        );
        body += &format!("<div class=\"grid\">\n{}</div>\n", figures::forecast(forecast));
        body += &tables::forecast(forecast);
        for warning in &forecast.warnings {
            body += &format!("<p class=\"soft\">{}</p>\n", escape(warning));
        }
    }
    frame("Tickwheel, planned", &body, plan)
}

/// The run that a page is about: the last that held a search, else the one that completed most among
/// the best verdicts.
fn main_run(reports: &[Report]) -> Option<&Report> {
    let held = reports.iter().rev().find(|one| {
        one.extra.contains_key("saturation_per_s") && one.verdict.outcome == Outcome::Pass
    });
    let best = || {
        reports.iter().min_by(|one, other| {
            let key = |one: &Report| (one.verdict.outcome, std::cmp::Reverse(one.ledger.completed));
            key(one).cmp(&key(other))
        })
    };
    held.or_else(best)
}

/// What a run may claim.
fn sentence(run: &Report) -> String {
    if run.verb == "recover" {
        return format!(
            "Serves again {} after a stop with {} jobs pending",
            seconds(run.extra.get("serve_s").copied().unwrap_or(0.0)),
            run.ledger.acked
        );
    }
    if run.verdict.outcome != Outcome::Pass {
        return "No run passed: nothing is claimed".to_owned();
    }
    let rate = run.offered_per_s.unwrap_or(run.achieved.completed_per_s);
    let lateness = run.spans("lateness");
    let late = match run.offered_per_s {
        Some(_) => format!("lateness p99 {}", span(lateness.p99)),
        // A closed loop keeps a queue full; its lateness is that of the queue.
        None => "as fast as it goes".to_owned(),
    };
    format!(
        "{} jobs a day at peak factor {PEAK_FACTOR} ({} a second held), {late}, durability {}, on {} with {} cores and {}",
        grouped(rate * DAY_S / PEAK_FACTOR),
        grouped(rate),
        run.durability,
        run.machine.cpu,
        run.machine.cores,
        run.machine.filesystem
    )
}

fn seconds(seconds: f64) -> String {
    span((seconds * 1e9) as u64)
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn badge(outcome: Outcome) -> String {
    let name = outcome.name();
    format!("<span class=\"badge {name}\">{name}</span>")
}

/// The verdict of the run that the page is about, and how many others did not pass.
fn outcomes(reports: &[Report], main: &Report) -> String {
    let count = |outcome| reports.iter().filter(|one| one.verdict.outcome == outcome).count();
    let others = [Outcome::Missed, Outcome::Void, Outcome::Incorrect]
        .into_iter()
        .filter(|outcome| count(*outcome) > 0)
        .map(|outcome| format!("{} {}", count(outcome), outcome.name()))
        .collect::<Vec<_>>();
    let of_all = if others.is_empty() {
        format!("all of {} passed", reports.len())
    } else {
        format!("of all {} runs, {}", reports.len(), others.join(", "))
    };
    // A broken promise is never hidden behind a run that passed.
    let is_broken = count(Outcome::Incorrect) > 0;
    let shown = if is_broken { Outcome::Incorrect } else { main.verdict.outcome };
    format!("{} <span class=\"soft\">{}; {of_all}</span>", badge(shown), escape(&name_of(main)))
}

/// What tells a run from the others.
fn name_of(run: &Report) -> String {
    let Some(point) = &run.point else {
        return run.verb.clone();
    };
    let value = grouped(point.value);
    let place = match point.axis.as_str() {
        "rate_per_s" => format!("{value}/s"),
        axis => format!("{value} {axis}"),
    };
    let held = if run.extra.contains_key("saturation_per_s") { ", held" } else { "" };
    format!("{} {place}{held}", run.verb)
}

#[cfg(test)]
mod tests;
