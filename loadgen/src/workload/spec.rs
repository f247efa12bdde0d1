//! The small language of the workload's flags: `name(value, key=value)`, and its values. It knows
//! texts; what a name means is said where it is used.

use std::{str::FromStr, time::Duration};

use super::DurationText;

/// A text of a flag that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {reason}; write {usage}")]
pub struct SpecError {
    /// What was given.
    text: String,
    /// What it should be.
    what: &'static str,
    reason: String,
    /// What may be written.
    usage: &'static str,
}

/// A text taken apart: a name, and what stands in parentheses behind it.
#[derive(Debug)]
pub(crate) struct Spec<'t> {
    text: &'t str,
    what: &'static str,
    usage: &'static str,
    pub(crate) name: &'t str,
    values: Vec<(Option<&'t str>, &'t str)>,
}

impl<'t> Spec<'t> {
    /// Takes `text` apart. `what` and `usage` are for its errors.
    pub(crate) fn read(
        text: &'t str,
        what: &'static str,
        usage: &'static str,
    ) -> Result<Self, SpecError> {
        let trimmed = text.trim();
        let mut spec = Self { text, what, usage, name: trimmed, values: Vec::new() };
        if let Some((name, rest)) = trimmed.split_once('(') {
            let Some(inside) = rest.strip_suffix(')') else {
                return Err(spec.error("a closing parenthesis is missing"));
            };
            spec.name = name.trim_end();
            spec.values = inside
                .split(',')
                .map(|value| match value.split_once('=') {
                    Some((key, value)) => (Some(key.trim()), value.trim()),
                    None => (None, value.trim()),
                })
                .collect();
        }
        Ok(spec)
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> SpecError {
        SpecError {
            text: self.text.to_owned(),
            what: self.what,
            reason: reason.into(),
            usage: self.usage,
        }
    }

    /// Exactly these values, by their key or by their place.
    pub(crate) fn values<const N: usize>(
        &self,
        keys: [&'static str; N],
    ) -> Result<[&'t str; N], SpecError> {
        if self.values.len() != N {
            let reason = format!("{} needs {}", self.name, keys.join(", "));
            return Err(self.error(reason));
        }
        let mut found = [""; N];
        for (place, (key, value)) in self.values.iter().enumerate() {
            let at = match key {
                Some(key) => keys.iter().position(|known| known == key),
                None => Some(place),
            };
            let Some(at) = at.filter(|at| found[*at].is_empty()) else {
                return Err(self.error(format!("{} takes {}", self.name, keys.join(", "))));
            };
            found[at] = value;
        }
        Ok(found)
    }

    pub(crate) fn duration(&self, text: &str) -> Result<Duration, SpecError> {
        text.parse().map(|DurationText(span)| span).map_err(|error| self.error(format!("{error}")))
    }

    /// A number within a range.
    pub(crate) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        text: &str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, SpecError> {
        let (low, high) = (range.start(), range.end());
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.error(format!("{text:?} must be a number from {low} to {high}")))
    }

    /// A share: `5%` or `0.05`.
    pub(crate) fn share(&self, text: &str) -> Result<f64, SpecError> {
        share(text)
            .ok_or_else(|| self.error(format!("{text:?} must be a share such as 5% or 0.05")))
    }
}

/// A share of 0 to 1, written `5%` or `0.05`.
pub(crate) fn share(text: &str) -> Option<f64> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim_end(), 0.01),
        None => (text.trim(), 1.0),
    };
    let share = number.parse::<f64>().ok()? * scale;
    (0.0..=1.0).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<Spec<'_>, SpecError> {
        Spec::read(text, "thing", "thing(a, b)")
    }

    #[test]
    fn values_are_found_by_key_and_by_place() {
        let both = spec("thing(b=2, a=1)").unwrap();
        assert_eq!((both.name, both.values(["a", "b"])), ("thing", Ok(["1", "2"])));
        assert_eq!(spec("thing(1,2)").unwrap().values(["a", "b"]), Ok(["1", "2"]));
        assert_eq!(spec("thing").unwrap().values([]), Ok([]));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_may_be_written() {
        let error = spec("thing(1").unwrap_err().to_string();
        assert!(error.contains("parenthesis") && error.contains("write thing(a, b)"), "{error}");
        for text in ["thing", "thing(1)", "thing(1,2,3)", "thing(a=1,c=2)", "thing(a=1,a=2)"] {
            assert!(spec(text).unwrap().values(["a", "b"]).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percent_or_fractions() {
        assert_eq!(share("5%"), Some(0.05));
        assert_eq!(share("0.5"), Some(0.5));
        assert_eq!([share("101%"), share("-1"), share("x"), share("NaN")], [None; 4]);
    }
}
