//! `sweep`: one run per rate, from a list.

use std::time::Duration;

use super::{Session, VerbError, at_rate, point};
use crate::options::Options;

/// Runs each rate for `span`.
///
/// # Errors
/// A run could not be carried out.
pub fn sweep(
    session: &mut Session,
    options: &Options,
    rates: &[f64],
    span: Duration,
) -> Result<(), VerbError> {
    for (index, rate) in rates.iter().enumerate() {
        if session.is_stopped() {
            break;
        }
        let name = format!("{:02}-rate-{rate}", index + 1);
        session.run(&name, point("rate_per_s", *rate), &at_rate(options, *rate, span))?;
    }
    Ok(())
}
