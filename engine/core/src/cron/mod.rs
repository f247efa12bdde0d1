//! Cron calendars: from the text of a rule to its fire times.
//!
//! Owns the dialect, its error messages, the search for the next fire time and the reading of the
//! compiled-in time zones. It must not know jobs, schedules or the scheduler's clock: every call
//! gets its instant from the caller, and the same call gives the same answer on any machine.
//!
//! The path of a text: [`parse`](Cron::parse) splits it and reads each field, the `cron` crate
//! confirms the translated text, the fields become bit masks, and [`Cron::next_after`] searches
//! those masks on the civil calendar and maps the result to an instant. The whole dialect and the
//! policy for skipped and repeated hours are written down in `docs/cron.md`.

mod calendar;
mod describe;
mod error;
mod field;
mod fire;
mod masks;
mod near;
mod read;
mod zone;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

pub use error::{CronError, FieldFault};
pub use field::Field;

use masks::Masks;
use zone::Zone;

/// The longest text that is read as a cron rule, in bytes. The longest useful one, which lists
/// every value of every field, is shorter.
pub const TEXT_LEN_BYTES_MAX: usize = 2048;

/// The first civil year in which a calendar can fire.
pub const YEAR_MIN: i32 = 1970;

/// The last civil year in which a calendar can fire. The search ends here, so a date that never
/// comes, such as 30 February, costs a bounded walk and then `None`.
pub const YEAR_MAX: i32 = 2199;

/// A cron rule in a time zone.
///
/// Two rules are equal when their texts and their zones are; texts that mean the same but are
/// written differently are not equal.
///
/// ```
/// use tickwheel_core::cron::{Cron, format_time};
///
/// let rule = Cron::parse("30 2 * * mon-fri")?.with_zone("Europe/Berlin")?;
/// let next = rule.next_after(1_735_689_600_000_000_000); // 2025-01-01T00:00:00Z
/// assert_eq!(next, Some(1_735_695_000_000_000_000));
/// assert_eq!(
///     format_time(1_735_695_000_000_000_000, rule.zone_name())?,
///     "2025-01-01T02:30:00+01:00[Europe/Berlin]",
/// );
/// # Ok::<(), tickwheel_core::cron::CronError>(())
/// ```
#[derive(Clone)]
pub struct Cron {
    source: Box<str>,
    zone: Zone,
    masks: Masks,
    pace: Pace,
}

/// How a rule treats an hour that the clock skips or repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Hour and minute name times of the day: each runs once on its day, whatever the clock does.
    Fixed,
    /// Hour or minute recurs over its whole field: the rule follows what the clock shows.
    Recurring,
}

impl Cron {
    /// Reads a rule of five fields (minute first), six (second first) or seven (second first, year
    /// last), or a nickname such as `@daily`. Its zone is UTC.
    ///
    /// # Errors
    ///
    /// [`CronError`], whose text names the field, the offending text, the reason, the allowed
    /// values and an example.
    ///
    /// ```
    /// use tickwheel_core::cron::Cron;
    ///
    /// assert!(Cron::parse("*/15 9-17 * * mon-fri").is_ok());
    /// assert!(Cron::parse("0 0 12 1 jan ? 2030").is_ok());
    /// let error = Cron::parse("0 24 * * *").unwrap_err();
    /// assert!(error.to_string().contains("hour"));
    /// ```
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        Self::compile(text, read::Form::Any)
    }

    /// Reads a rule as it stands in a crontab line: exactly five fields, or a nickname. Its zone
    /// is UTC.
    ///
    /// # Errors
    ///
    /// As [`Cron::parse`]; six or seven fields are refused too, since in a crontab the sixth word
    /// is the beginning of the command.
    pub fn parse_crontab(text: &str) -> Result<Cron, CronError> {
        Self::compile(text, read::Form::Crontab)
    }

    /// The same rule on the clocks of another zone: an IANA name such as `Europe/Berlin`, or
    /// `UTC`. Letter case does not matter; [`Cron::zone_name`] gives the usual spelling.
    ///
    /// # Errors
    ///
    /// [`CronError::UnknownZone`] with names that are close to the one given.
    pub fn with_zone(self, zone: &str) -> Result<Cron, CronError> {
        let zone = Zone::find(zone)?;
        Ok(Cron { zone, ..self })
    }

    /// The text of the rule as given, without blanks around it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The name of the zone in its usual spelling, `UTC` unless [`Cron::with_zone`] set another.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.name()
    }

    /// The first fire time strictly after an instant, both in nanoseconds since the Unix epoch.
    /// Fire times are whole seconds.
    ///
    /// `None` when the rule never fires again: its years are past, its date does not exist (30
    /// February), or [`YEAR_MAX`] is reached. No rule fires before the civil year [`YEAR_MIN`].
    ///
    /// The result is always greater than the argument, so feeding it back walks forward through
    /// all fire times, each once. The work is bounded whatever the rule.
    #[must_use]
    pub fn next_after(&self, after_unix_ns: i64) -> Option<i64> {
        fire::next_after(&self.masks, &self.zone, self.pace, after_unix_ns)
    }

    /// All fire times strictly after an instant, in nanoseconds since the Unix epoch, in strictly
    /// increasing order. A rule without a year goes on for centuries: take only what is needed.
    ///
    /// ```
    /// use tickwheel_core::cron::Cron;
    ///
    /// let rule = Cron::parse("@hourly")?;
    /// let hours: Vec<i64> = rule.upcoming(0).take(2).collect();
    /// assert_eq!(hours, [3_600_000_000_000, 7_200_000_000_000]);
    /// # Ok::<(), tickwheel_core::cron::CronError>(())
    /// ```
    pub fn upcoming(&self, after_unix_ns: i64) -> impl Iterator<Item = i64> + '_ {
        core::iter::successors(self.next_after(after_unix_ns), |last| self.next_after(*last))
    }

    /// The rule in a short English phrase, for people to check what they wrote.
    ///
    /// ```
    /// use tickwheel_core::cron::Cron;
    ///
    /// let rule = Cron::parse("30 2 * * mon-fri")?.with_zone("Europe/Berlin")?;
    /// assert_eq!(rule.describe(), "at 02:30 on Monday to Friday, Europe/Berlin");
    /// # Ok::<(), tickwheel_core::cron::CronError>(())
    /// ```
    #[must_use]
    pub fn describe(&self) -> String {
        describe::describe(&self.masks, self.zone.name())
    }

    fn compile(text: &str, form: read::Form) -> Result<Cron, CronError> {
        let rule = read::read(text, form)?;
        Ok(Cron {
            source: text.trim_ascii().into(),
            zone: Zone::utc(),
            pace: if rule.recurs_within_day() { Pace::Recurring } else { Pace::Fixed },
            masks: Masks::compile(&rule)?,
        })
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.zone.name() == other.zone.name()
    }
}

impl Eq for Cron {}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cron")
            .field("source", &self.source)
            .field("zone", &self.zone.name())
            .finish_non_exhaustive()
    }
}

/// An instant (nanoseconds since the Unix epoch) as a clock in that zone shows it: RFC 3339 with
/// the offset, followed by the zone's name in brackets.
///
/// # Errors
///
/// [`CronError::UnknownZone`].
///
/// ```
/// use tickwheel_core::cron::format_time;
///
/// assert_eq!(format_time(0, "UTC")?, "1970-01-01T00:00:00+00:00[UTC]");
/// assert_eq!(format_time(0, "Asia/Kathmandu")?, "1970-01-01T05:30:00+05:30[Asia/Kathmandu]");
/// # Ok::<(), tickwheel_core::cron::CronError>(())
/// ```
pub fn format_time(unix_ns: i64, zone: &str) -> Result<String, CronError> {
    Ok(Zone::find(zone)?.format(unix_ns))
}

/// Whether [`Cron::with_zone`] knows this name.
#[must_use]
pub fn zone_exists(name: &str) -> bool {
    zone::is_known(name)
}
