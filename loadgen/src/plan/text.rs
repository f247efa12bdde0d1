//! A plan as text for people, with bars that a terminal can show.

use std::fmt::{self, Write as _};

use tickwheel_engine::cron::format_time;

use super::{Forecast, Plan, Shape};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(forecast) = &self.forecast {
            f.write_str(&of_forecast(forecast, self.days))?;
        }
        writeln!(f, "{}", self.fit.sentence)?;
        for one in &self.fit.predictions {
            let mark = if one.is_extrapolated { "  (extrapolated)" } else { "" };
            writeln!(f, "  {:<34}{:<30}measured: {}{mark}", one.name, one.predicted, one.measured)?;
        }
        Ok(())
    }
}

fn of_forecast(forecast: &Forecast, days: u32) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; so with all lines below.
    let _ = writeln!(
        text,
        "{} schedules trigger {} times in {days} days, {:.2} a second on average\n",
        forecast.schedules,
        forecast.triggers,
        forecast.triggers as f64 / (f64::from(days) * 86_400.0)
    );
    let _ = writeln!(text, "busiest second of each hour of the day (UTC), 00 to 23");
    let highest = forecast.now.by_hour.iter().copied().max().unwrap_or(0);
    for (name, shape) in [("now", &forecast.now), ("jittered", &forecast.jittered)] {
        let _ = writeln!(
            text,
            "  {name:<10}{}  at most {}",
            bars(&shape.by_hour, highest),
            shape.by_hour.iter().max().copied().unwrap_or(0)
        );
    }
    let _ = writeln!(text, "\npeaks");
    for peak in &forecast.now.peaks {
        let at = format_time(peak.unix_s.saturating_mul(1_000_000_000), "UTC");
        // UTC is always known.
        let at = at.unwrap_or_else(|_| peak.unix_s.to_string());
        let _ = writeln!(text, "  {:>8} triggers  {at}", peak.triggers);
    }
    let source =
        if forecast.is_capacity_measured { "measured" } else { "assumed: name --measured" };
    let _ = writeln!(
        text,
        "\nlateness if {:.0} a second are started ({source})\n  now       {}\n  jittered  {}",
        forecast.capacity_per_s,
        lateness(&forecast.now),
        lateness(&forecast.jittered)
    );
    let _ = writeln!(
        text,
        "\nproposal  jitter of up to {} s, at most a quarter of each schedule's shortest gap: the busiest second falls from {} to {} triggers",
        forecast.jitter_max_s,
        highest,
        forecast.jittered.by_hour.iter().max().copied().unwrap_or(0)
    );
    for warning in &forecast.warnings {
        let _ = writeln!(text, "note      {warning}");
    }
    text.push('\n');
    text
}

fn bars(values: &[u32], highest: u32) -> String {
    let bar = |value: &u32| match value {
        0 => '·',
        _ => {
            let step = u64::from(*value) * (BARS.len() as u64 - 1) / u64::from(highest.max(1));
            BARS[step as usize]
        }
    };
    values.iter().map(bar).collect()
}

fn lateness(shape: &Shape) -> String {
    let late = &shape.lateness;
    format!(
        "p50 {:.3} s · p99 {:.3} s · p99.9 {:.3} s · max {:.3} s · at most {} wait",
        late.p50_s, late.p99_s, late.p999_s, late.max_s, late.backlog_max
    )
}
