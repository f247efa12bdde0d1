//! What happens to times that a clock skips or shows twice.
//!
//! Owns the two choices, how they are written behind the fields of a text, and what holds where
//! nothing is written. It must not know masks, zones or the grammar of fields.

use alloc::string::String;

use super::error::{CronError, quote};

/// What is done about a time that the clock skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// It runs at the first instant after the gap: `skipped=end`. Several that fall into one gap,
    /// or into it and on its end, run once together.
    AtEnd,
    /// It does not run: `skipped=never`.
    Never,
}

/// What is done about a time that the clock shows twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repeated {
    /// It runs at its first showing: `repeated=once`.
    Once,
    /// It runs at both: `repeated=twice`.
    Twice,
}

/// Both choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) skipped: Skipped,
    pub(super) repeated: Repeated,
}

/// The choices that a text writes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) skipped: Option<Skipped>,
    pub(super) repeated: Option<Repeated>,
}

impl Policy {
    /// What is written down, and for the rest: fixed times run once, and recurring patterns follow
    /// the clock.
    pub(super) fn of(options: Options, recurs: bool) -> Policy {
        let (skipped, repeated) = if recurs {
            (Skipped::Never, Repeated::Twice)
        } else {
            (Skipped::AtEnd, Repeated::Once)
        };
        Policy {
            skipped: options.skipped.unwrap_or(skipped),
            repeated: options.repeated.unwrap_or(repeated),
        }
    }
}

impl Skipped {
    pub(super) const KEY: &str = "skipped=";

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::AtEnd => "skipped=end",
            Self::Never => "skipped=never",
        }
    }
}

impl Repeated {
    pub(super) const KEY: &str = "repeated=";

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Once => "repeated=once",
            Self::Twice => "repeated=twice",
        }
    }
}

impl Options {
    /// Takes the options off the end of a text and gives what stands before them.
    pub(super) fn split(text: &str) -> Result<(&str, Options), CronError> {
        let (mut fields, mut options) = (text, Options::default());
        while let Some((before, word)) = fields.rsplit_once(|sign: char| sign.is_ascii_whitespace())
            && word.contains('=')
        {
            options.add(word)?;
            fields = before.trim_ascii_end();
        }
        Ok((fields, options))
    }

    fn add(&mut self, word: &str) -> Result<(), CronError> {
        let is = |known: &str| known.eq_ignore_ascii_case(word);
        let skipped = [Skipped::AtEnd, Skipped::Never].into_iter().find(|way| is(way.word()));
        let repeated = [Repeated::Once, Repeated::Twice].into_iter().find(|way| is(way.word()));
        let refused = if skipped.is_some() {
            self.skipped.is_some()
        } else if repeated.is_some() {
            self.repeated.is_some()
        } else if is_zone(word) {
            return Err(CronError::ZoneInText { text: quote(word) });
        } else {
            true
        };
        if refused {
            return Err(CronError::Option { text: quote(word) });
        }
        self.skipped = self.skipped.or(skipped);
        self.repeated = self.repeated.or(repeated);
        Ok(())
    }

    /// A text with one option set or replaced.
    pub(super) fn rewrite(source: &str, key: &str, option: &str) -> String {
        let is_other = |word: &&str| {
            !word.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key))
        };
        let mut text = String::with_capacity(source.len() + 1 + option.len());
        for word in source.split_ascii_whitespace().filter(is_other).chain([option]) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }
}

/// Whether a word with `=` sets the zone, as some other crons have it.
pub(super) fn is_zone(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(key, _)| ["TZ", "CRON_TZ"].iter().any(|zone| zone.eq_ignore_ascii_case(key)))
}
