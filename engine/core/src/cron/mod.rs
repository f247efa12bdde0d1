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
mod policy;
mod read;
mod special;
mod spread;
mod zone;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

pub use error::{CronError, FieldFault, NeverFault};
pub use field::Field;
pub use policy::{Repeated, Skipped};
pub use spread::jitter_ns;

use calendar::Local;
use masks::Masks;
use policy::{Options, Policy};
use zone::Zone;

/// The longest text that is read as a cron rule, in bytes. The longest useful one, which lists
/// every value of every field, is shorter.
pub const TEXT_LEN_BYTES_MAX: usize = 2048;

/// The first civil year in which a calendar can fire.
pub const YEAR_MIN: i32 = 1970;

/// The last civil year in which a calendar can fire. The search ends here, so its work is bounded.
pub const YEAR_MAX: i32 = 2199;

/// A cron rule in a time zone.
///
/// Text, name and zone are the whole rule: they are what is stored of it. Two rules are equal when
/// these are; texts that mean the same but are written differently are not equal. The name counts
/// only if the text draws from it, by an `H`.
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
    /// The name that values were drawn from; `None` if the text draws none.
    name: Option<Box<str>>,
    zone: Zone,
    masks: Masks,
    options: Options,
    /// Whether hour or minute recurs over its whole field, which decides what is not in the options.
    recurs: bool,
    policy: Policy,
}

impl Cron {
    /// Reads a rule of five fields (minute first), six (second first) or seven (second first, year
    /// last), or a nickname such as `@daily`. What happens in an hour that the clock skips or
    /// repeats may follow: `skipped=end` or `skipped=never`, `repeated=once` or `repeated=twice`.
    /// Its zone is UTC.
    ///
    /// An `H` is refused, since there is no name to draw from: see [`Cron::parse_named`].
    ///
    /// # Errors
    ///
    /// [`CronError`], whose text names the field, the offending text, the reason, the allowed
    /// values and an example. A rule whose date never comes, such as 30 February, is an error; one
    /// whose years are past is not, because that depends on when it is asked.
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
        Self::compile(text, read::Form::Any, None)?.checked()
    }

    /// Reads a rule in which `H` stands for a value drawn from a name, usually the schedule's.
    /// Different names get different values, and the same name always the same one, so that many
    /// schedules that run once an hour or a day do not all run at once.
    ///
    /// # Errors
    ///
    /// As [`Cron::parse`].
    ///
    /// ```
    /// use tickwheel_core::cron::Cron;
    ///
    /// let backup = Cron::parse_named("H H(1-4) * * *", "backup")?;
    /// let report = Cron::parse_named("H H(1-4) * * *", "report")?;
    /// assert_ne!(backup.next_after(0), report.next_after(0));
    /// # Ok::<(), tickwheel_core::cron::CronError>(())
    /// ```
    pub fn parse_named(text: &str, name: &str) -> Result<Cron, CronError> {
        Self::restore(text, name)?.checked()
    }

    /// A rule that was accepted once: what has been refused since then must still be read.
    pub(crate) fn restore(text: &str, name: &str) -> Result<Cron, CronError> {
        Self::compile(text, read::Form::Any, Some(name))
    }

    /// Reads a rule as it stands in a crontab line: exactly five fields, or a nickname. Its zone
    /// is UTC.
    ///
    /// # Errors
    ///
    /// As [`Cron::parse`]; six or seven fields and options are refused too, since in a crontab the
    /// sixth word is the beginning of the command.
    pub fn parse_crontab(text: &str) -> Result<Cron, CronError> {
        Self::compile(text, read::Form::Crontab, None)?.checked()
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

    /// The same rule, but with this done about times that the clock skips. [`Cron::source`] says so
    /// too, in its option `skipped=`.
    ///
    /// ```
    /// use tickwheel_core::cron::{Cron, Skipped};
    ///
    /// let rule = Cron::parse("30 2 * * *")?.with_skipped(Skipped::Never);
    /// assert_eq!(rule.source(), "30 2 * * * skipped=never");
    /// assert_eq!(rule, Cron::parse("30 2 * * * skipped=never")?);
    /// # Ok::<(), tickwheel_core::cron::CronError>(())
    /// ```
    #[must_use]
    pub fn with_skipped(self, skipped: Skipped) -> Cron {
        let options = Options { skipped: Some(skipped), ..self.options };
        self.with_option(options, Skipped::KEY, skipped.word())
    }

    /// The same rule, but with this done about times that the clock shows twice. [`Cron::source`]
    /// says so too, in its option `repeated=`.
    #[must_use]
    pub fn with_repeated(self, repeated: Repeated) -> Cron {
        let options = Options { repeated: Some(repeated), ..self.options };
        self.with_option(options, Repeated::KEY, repeated.word())
    }

    /// What is done about times that the clock skips: what the text says, or else
    /// [`Skipped::Never`] if hour or minute recurs over its whole field, as `*` and `*/15` do, and
    /// [`Skipped::AtEnd`] if the rule names times of the day.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.policy.skipped
    }

    /// What is done about times that the clock shows twice: what the text says, or else
    /// [`Repeated::Twice`] if hour or minute recurs over its whole field, and [`Repeated::Once`] if
    /// the rule names times of the day.
    #[must_use]
    pub fn repeated(&self) -> Repeated {
        self.policy.repeated
    }

    /// The text of the rule as given, without blanks around it, and with the options that were set
    /// since.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The name that values were drawn from, if the text draws any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the zone in its usual spelling, `UTC` unless [`Cron::with_zone`] set another.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.name()
    }

    /// The first fire time strictly after an instant, both in nanoseconds since the Unix epoch.
    /// Fire times are whole seconds.
    ///
    /// `None` when the rule never fires again: its years are past, or [`YEAR_MAX`] is reached. No
    /// rule fires before the civil year [`YEAR_MIN`].
    ///
    /// The result is always greater than the argument, so feeding it back walks forward through
    /// all fire times, each once. The work is bounded whatever the rule.
    #[must_use]
    pub fn next_after(&self, after_unix_ns: i64) -> Option<i64> {
        fire::next_after(&self.masks, &self.zone, self.policy, after_unix_ns)
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
        describe::describe(&self.masks, self.options, self.zone.name())
    }

    fn compile(text: &str, form: read::Form, name: Option<&str>) -> Result<Cron, CronError> {
        let rule = read::read(text, form, name)?;
        let recurs = rule.recurs_within_day();
        Ok(Cron {
            source: text.trim_ascii().into(),
            name: name.filter(|_| rule.is_spread).map(Into::into),
            zone: Zone::utc(),
            masks: Masks::compile(&rule)?,
            options: rule.options,
            recurs,
            policy: Policy::of(rule.options, recurs),
        })
    }

    /// Refuses a rule that matches no day of the calendar.
    fn checked(self) -> Result<Cron, CronError> {
        let epoch = Local(0);
        match self.masks.first_from(epoch) {
            Some(_) => Ok(self),
            None => Err(CronError::NeverFires {
                text: error::quote(&self.source),
                fault: self.masks.never_fault(),
            }),
        }
    }

    fn with_option(self, options: Options, key: &str, option: &str) -> Cron {
        Cron {
            source: Options::rewrite(&self.source, key, option).into(),
            policy: Policy::of(options, self.recurs),
            options,
            ..self
        }
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
            && self.name == other.name
            && self.zone.name() == other.zone.name()
    }
}

impl Eq for Cron {}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Cron");
        shown.field("source", &self.source);
        if let Some(name) = &self.name {
            shown.field("name", name);
        }
        shown.field("zone", &self.zone.name()).finish_non_exhaustive()
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
