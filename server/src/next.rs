//! `tickwheel next`: what a cron expression means and when it fires next.

use std::time::SystemTime;

use tickwheel_engine::cron::{Cron, CronError, format_time};

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NextError {
    /// The expression or the zone is wrong.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// The machine's clock says a time that no fire time can be counted from.
    #[error("the system's clock is not between 1970 and 2262; set it")]
    Clock,
}

/// A cron expression and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The expression.
    pub text: &'a str,
    /// The name from which an `H` in it draws.
    pub name: Option<&'a str>,
    /// Its time zone.
    pub zone: &'a str,
}

/// The expression in words, and its next `count` fire times, one per line.
///
/// # Errors
/// [`NextError::Cron`] for a wrong expression or zone, [`NextError::Clock`] for a wrong clock.
pub fn report(rule: &Rule<'_>, count: u32) -> Result<String, NextError> {
    let now = unix_ns(SystemTime::now()).ok_or(NextError::Clock)?;
    report_after(now, rule, count)
}

fn report_after(now: i64, rule: &Rule<'_>, count: u32) -> Result<String, NextError> {
    let cron = match rule.name {
        Some(name) => Cron::parse_named(rule.text, name)?,
        None => Cron::parse(rule.text)?,
    };
    let cron = cron.with_zone(rule.zone)?;
    let mut report = format!("{}\n", cron.describe());
    let mut printed = 0;
    for at in cron.upcoming(now).take(count as usize) {
        report.push_str(&format_time(at, cron.zone_name())?);
        report.push('\n');
        printed += 1;
    }
    if printed < count {
        report.push_str("no further fire time\n");
    }
    Ok(report)
}

/// Nanoseconds since 1970; `None` outside of what the signed number can hold.
pub(crate) fn unix_ns(at: SystemTime) -> Option<i64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-28T12:00:00Z, the day before clocks go forward in Berlin.
    const NOW: i64 = 1_774_699_200_000_000_000;

    fn rule<'a>(text: &'a str, zone: &'a str) -> Rule<'a> {
        Rule { text, name: None, zone }
    }

    #[test]
    fn words_then_times_with_their_zone() {
        let report = report_after(NOW, &rule("30 9 * * *", "Europe/Berlin"), 2).unwrap();
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines[0].contains("09:30") && lines[0].contains("Europe/Berlin"), "{report}");
        assert_eq!(
            lines[1..],
            [
                "2026-03-29T09:30:00+02:00[Europe/Berlin]",
                "2026-03-30T09:30:00+02:00[Europe/Berlin]",
            ]
        );
    }

    #[test]
    fn an_exhausted_calendar_is_said() {
        let report = report_after(NOW, &rule("0 0 8 1 1 ? 2027", "UTC"), 3).unwrap();
        assert_eq!(report.lines().count(), 3, "{report}");
        assert!(report.ends_with("\nno further fire time\n"), "{report}");
    }

    #[test]
    fn wrong_input_is_named() {
        let text = |text, zone| report_after(NOW, &rule(text, zone), 1).unwrap_err().to_string();
        assert!(text("0 30 2 * *", "UTC").contains("30"));
        assert!(text("@daily", "Europe/Berln").contains("Europe/Berln"));
        assert!(text("0 0 30 2 *", "UTC").contains("never fires"));
        assert!(text("H H * * *", "UTC").contains("name"));
    }

    #[test]
    fn a_name_gives_what_is_drawn_from_it() {
        let rule = Rule { name: Some("backup"), ..rule("H H * * *", "UTC") };
        let report = report_after(NOW, &rule, 1).unwrap();
        assert_eq!(report, "at 18:49 every day, UTC\n2026-03-28T18:49:00+00:00[UTC]\n");
    }
}
