//! What is done about a queue whose attempts fail: fields of `[[queue]]`.

use std::time::Duration;

use tickwheel_engine::CircuitBreaker;

use super::limits;
use super::reader::{self, Report, Reported, Section};
use super::settings::duration_in;
use super::value::{self, rule};
use crate::plan::Guards;

pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Result<Guards, Reported> {
    let mut count = |key, example| {
        section.field(report, key, example, |value| {
            let count = value::number_within(reader::number(value)?, limits::FAILURES)?;
            u32::try_from(count).map_err(rule)
        })
    };
    let pause_after = count("pause_after", "pause_after = 100");
    let break_after = count("break_after", "break_after = 5");
    let mut span = |key, example| {
        section.field(report, key, example, |value| duration_in(value, limits::COOL_DOWN))
    };
    let cool_down = span("cool_down", r#"cool_down = "30s""#)?;
    let cool_down_max = span("cool_down_max", r#"cool_down_max = "10m""#)?;
    let (pause_after, break_after) = (pause_after?, break_after?);
    let Some(failures) = break_after else {
        let lost = [("cool_down", cool_down), ("cool_down_max", cool_down_max)];
        for (key, _) in lost.iter().filter(|(_, span)| span.is_some()) {
            section.refuse(report, key, "it belongs to break_after", "break_after = 5");
        }
        return Ok(Guards { pause_after, breaker: None });
    };
    let first = cool_down.unwrap_or(CircuitBreaker::COOL_DOWN);
    if cool_down_max.is_some_and(|longest: Duration| longest < first) {
        let example = r#"cool_down = "10s", cool_down_max = "10m""#;
        section.refuse(report, "cool_down_max", "it is shorter than cool_down", example);
    }
    let mut breaker = CircuitBreaker::new(failures).cool_down(first);
    if let Some(longest) = cool_down_max {
        breaker = breaker.cool_down_max(longest);
    }
    Ok(Guards { pause_after, breaker: Some(breaker) })
}
