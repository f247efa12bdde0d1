//! What a workload needs, predicted from stored runs. Each prediction stands beside what was measured,
//! and says when it reaches beyond that.

use serde::{Deserialize, Serialize};

use crate::{result::Report, verdict::Outcome};

/// Share of the measured capacity that is planned for: the rest is for what nobody planned.
const HEADROOM: f64 = 0.7;

/// What a workload needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fit {
    /// In a sentence.
    pub sentence: String,
    /// Whether one machine holds the peak; `None` where nothing was measured.
    pub fits: Option<bool>,
    /// Machines for the peak, at 70 % of what each was measured to hold.
    pub machines: Option<u64>,
    /// The numbers, each with what it is predicted from.
    pub predictions: Vec<Prediction>,
}

/// A predicted number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// What it is.
    pub name: String,
    /// What is predicted, with its unit.
    pub predicted: String,
    /// What was measured, with its unit and where.
    pub measured: String,
    /// Whether it reaches beyond what was measured.
    pub is_extrapolated: bool,
}

/// What is needed.
pub(super) struct Need {
    pub(super) jobs_per_day: f64,
    pub(super) peak_per_s: f64,
    pub(super) cost_per_hour: Option<f64>,
}

/// Jobs a second that were measured to be held: of a search for it, else of the fastest run that passed.
pub(super) fn capacity_per_s(measured: &[Report]) -> Option<f64> {
    let passed = || measured.iter().filter(|one| one.verdict.outcome == Outcome::Pass);
    let found = passed().filter_map(|one| one.extra.get("saturation_per_s").copied());
    let fastest = passed().map(|one| one.achieved.completed_per_s).filter(|rate| *rate > 0.0);
    found.max_by(f64::total_cmp).or_else(|| fastest.max_by(f64::total_cmp))
}

pub(super) fn fit(need: &Need, measured: &[Report]) -> Fit {
    let Some(capacity) = capacity_per_s(measured) else {
        let sentence = format!(
            "{:.0} jobs a day with {:.0} in the busiest second; whether that fits is not known, as nothing was measured: name results with --measured",
            need.jobs_per_day, need.peak_per_s
        );
        return Fit { sentence, ..Fit::default() };
    };
    let machines = (need.peak_per_s / (capacity * HEADROOM)).ceil().max(1.0);
    let fits = need.peak_per_s <= capacity * HEADROOM;
    let is_beyond = need.peak_per_s > capacity;
    let mut predictions = vec![Prediction {
        name: "rate at the peak".to_owned(),
        predicted: format!("{:.0} jobs a second", need.peak_per_s),
        measured: format!("{capacity:.0} jobs a second are held"),
        is_extrapolated: is_beyond,
    }];
    if let Some(run) = busiest(measured) {
        // A server tells nothing of its log.
        if run.resources.wal_bytes_per_job > 0.0 {
            predictions.push(Prediction {
                name: "log written in a day".to_owned(),
                predicted: bytes(run.resources.wal_bytes_per_job * need.jobs_per_day),
                measured: format!("{:.0} bytes a job", run.resources.wal_bytes_per_job),
                is_extrapolated: false,
            });
        }
        predictions.extend(processors(need, run, is_beyond));
    }
    predictions.extend(memory(need, measured));
    if let Some(cost) = need.cost_per_hour {
        let million = cost * 24.0 * machines / need.jobs_per_day * 1e6;
        predictions.push(Prediction {
            name: "cost of a million triggers".to_owned(),
            predicted: format!("{million:.4}"),
            measured: format!("{machines:.0} machines at {cost} an hour"),
            is_extrapolated: is_beyond,
        });
    }
    let verdict = if fits { "fits one machine" } else { "does not fit one machine" };
    let sentence = format!(
        "{:.0} jobs a day with {:.0} in the busiest second {verdict} of this kind, which holds {capacity:.0} a second; {machines:.0} {} at {:.0} % load",
        need.jobs_per_day,
        need.peak_per_s,
        if machines == 1.0 { "is enough" } else { "are needed" },
        need.peak_per_s / (capacity * machines) * 100.0
    );
    Fit { sentence, fits: Some(fits), machines: Some(machines as u64), predictions }
}

/// Processors for the peak. Of a run over TCP the generator's own say nothing of the server.
fn processors(need: &Need, run: &Report, is_beyond: bool) -> Option<Prediction> {
    let of_server = run.extra.get("server_cpu_ns_per_job").copied();
    let (ns_per_job, whose) = match (of_server, run.target == "inproc" || run.target.is_empty()) {
        (Some(ns), _) => (ns, "by the server alone"),
        (None, true) => (run.resources.cpu_ns_per_job, "generator included"),
        (None, false) => return None,
    };
    let cpus = ns_per_job / 1e9 * need.peak_per_s;
    Some(Prediction {
        name: "processors at the peak".to_owned(),
        predicted: format!("{cpus:.2} busy, {whose}"),
        measured: format!("{:.2} µs a job", ns_per_job / 1e3),
        is_extrapolated: is_beyond,
    })
}

/// The valid run that completed most jobs: costs per job are steadiest there.
fn busiest(measured: &[Report]) -> Option<&Report> {
    let runs = measured.iter().filter(|one| one.achieved.completed_per_s > 0.0);
    runs.filter(|one| one.verdict.outcome < Outcome::Void).max_by_key(|one| one.ledger.completed)
}

/// Memory for a day's jobs pending at a time, from measurements of how long recovery takes.
fn memory(need: &Need, measured: &[Report]) -> Option<Prediction> {
    let mut points: Vec<(f64, f64)> = measured
        .iter()
        .filter(|one| one.verb == "recover" && one.resources.rss_bytes > 0)
        .map(|one| (one.ledger.acked as f64, one.resources.rss_bytes as f64))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (least, most) = (points.first()?, points.last()?);
    if most.0 <= least.0 {
        return None;
    }
    let per_job = (most.1 - least.1) / (most.0 - least.0);
    let predicted = (least.1 + per_job * (need.jobs_per_day - least.0)).max(0.0);
    Some(Prediction {
        name: "memory with a day's jobs pending".to_owned(),
        predicted: bytes(predicted),
        measured: format!(
            "{per_job:.0} bytes a job, between {:.0} and {:.0} pending, mapped log included",
            least.0, most.0
        ),
        is_extrapolated: need.jobs_per_day > most.0 || need.jobs_per_day < least.0,
    })
}

/// Bytes with a unit that keeps them short.
fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
