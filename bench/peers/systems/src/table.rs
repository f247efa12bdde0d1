//! The table as a page has it, and how it gets there. It knows numbers and text.

use std::{fs, path::Path};

use crate::{PeerError, load::Found, options::Options, rounds::Measured, system::Durability};

/// Between these two lines of a page stands what was measured.
const BEGIN: &str = "<!-- systems: written by `just peers` -->";
const END: &str = "<!-- end of systems -->";

/// All of it, by durability.
pub(crate) fn write(all: &[Measured], options: &Options) -> String {
    let size = options.size;
    let mut text = format!(
        "{}. {} rounds, each system once in each; {} jobs of 100 bytes, {} due {} s later, {} lone pushes. Rates: smallest, **median**, largest; spans: the median of the rounds' percentiles.\n",
        machine(),
        options.rounds,
        size.jobs,
        size.delayed,
        size.delay_ms / 1000,
        size.lone
    );
    for durability in Durability::ALL {
        let group: Vec<&Measured> =
            all.iter().filter(|one| one.system.durability == durability).collect();
        let own = group.first().filter(|one| one.system.name == "Tickwheel");
        let own = own.map(|one| one.rounds.as_slice()).unwrap_or_default();
        if group.is_empty() {
            continue;
        }
        text += &format!(
            "\n{}:\n\n| system | setting | pushed a second | ratio | fetched and done a second | ratio | lone push p50 · p99, µs | lateness p50 · p99, ms |\n|---|---|---:|---:|---:|---:|---:|---:|\n",
            capital(durability.text())
        );
        for one in &group {
            text += &row(one, own);
        }
    }
    for one in all {
        if let Err(why) = &one.version {
            text += &format!(
                "\nNot measured: {} ({}), since {}.\n",
                one.system.name,
                one.system.durability.text(),
                why.lines().next().unwrap_or_default()
            );
        }
    }
    text
}

fn row(one: &Measured, own: &[Found]) -> String {
    let Ok(version) = &one.version else {
        return format!(
            "| {} | {} | not measured | | | | | |\n",
            one.system.name, one.system.setting
        );
    };
    let name = match version.to_lowercase().contains(&one.system.name.to_lowercase()) {
        true => version.clone(),
        false => format!("{}, {version}", one.system.name),
    };
    let whole = |value: f64| format!("{value:.0}");
    let push = |found: &Found| found.push_per_s;
    let work = |found: &Found| found.work_per_s;
    let ratio = |pick: fn(&Found) -> f64| match (median(own, pick), median(&one.rounds, pick)) {
        (Some(own), Some(value)) if own > 0.0 => format!("{:.3}", value / own),
        _ => "–".to_owned(),
    };
    let pick = |pick: fn(&Found) -> Option<f64>| {
        let known = |found: &Found| pick(found).unwrap_or(0.0) / 1000.0;
        match one.rounds.iter().all(|found| pick(found).is_some()) && !one.rounds.is_empty() {
            true => middle(&one.rounds, known, |value| format!("{value:.2}")),
            false => "not offered".to_owned(),
        }
    };
    let wrong: u64 = one.rounds.iter().map(|found| found.lost + found.twice + found.early).sum();
    let wrong = match wrong {
        0 => String::new(),
        _ => {
            let sum = |pick: fn(&Found) -> u64| one.rounds.iter().map(pick).sum::<u64>();
            format!(
                " (lost {}, twice {}, early {})",
                sum(|found| found.lost),
                sum(|found| found.twice),
                sum(|found| found.early)
            )
        }
    };
    format!(
        "| {name}{wrong} | {} | {} | {} | {} | {} | {} · {} | {} · {} |\n",
        one.system.setting,
        spread(&one.rounds, push, whole),
        ratio(push),
        spread(&one.rounds, work, whole),
        ratio(work),
        middle(&one.rounds, |found| found.lone_p50_us, whole),
        middle(&one.rounds, |found| found.lone_p99_us, whole),
        pick(|found| found.late_p50_us),
        pick(|found| found.late_p99_us),
    )
}

fn median(rounds: &[Found], pick: impl Fn(&Found) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = rounds.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The median alone.
fn middle(rounds: &[Found], pick: impl Fn(&Found) -> f64, text: impl Fn(f64) -> String) -> String {
    median(rounds, pick).map_or("–".to_owned(), text)
}

/// The smallest, the median and the largest.
fn spread(rounds: &[Found], pick: impl Fn(&Found) -> f64, text: impl Fn(f64) -> String) -> String {
    let values = || rounds.iter().map(&pick);
    let Some(median) = median(rounds, &pick) else {
        return "–".to_owned();
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    format!("{} **{}** {}", text(low), text(median), text(high))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Processor, cores, kernel and load, as `/proc` has them.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let cpu = info.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cpu}, {cores} cores, Linux {}, load at the end {load}", kernel.trim())
}

/// Puts the text between its marks.
///
/// # Errors
/// The page has no such marks, or cannot be written.
pub(crate) fn put_into(page: &Path, text: &str) -> Result<(), PeerError> {
    let old = fs::read_to_string(page)?;
    let new = between_marks(&old, text)
        .ok_or_else(|| format!("{} has no lines {BEGIN} and {END}", page.display()))?;
    fs::write(page, new)?;
    Ok(())
}

fn between_marks(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_what_stood_between_the_marks() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between_marks(&page, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between_marks(&new, "new").as_deref(), Some(new.as_str()));
        assert_eq!(between_marks("a", "new"), None);
    }
}
