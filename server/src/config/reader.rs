//! Walking a parsed TOML document: fields are taken one by one, problems are collected with their
//! lines, and what was not taken is unknown. It knows TOML and no field of ours.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::ValueError;
use crate::problem::Problem;

/// A problem was found and is in the [`Report`]. Reading goes on elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported;

/// The problems of one file.
pub(super) struct Report<'a> {
    file: &'a Path,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        Self { file, line_starts, problems: Vec::new() }
    }

    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn add(&mut self, problem: Problem) -> Reported {
        self.problems.push(problem);
        Reported
    }

    /// A problem at a byte of the file.
    pub(super) fn at(&self, offset: usize, reason: impl std::fmt::Display) -> Problem {
        Problem::new(self.file, reason).with_line(self.line_of(offset))
    }

    /// All problems, in the order of their lines.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}

/// One table of the document while its fields are taken.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    place: String,
    offset: usize,
    taken: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// `place` names the table in messages, `offset` is where it begins.
    pub(super) fn new(table: &'t DeTable<'t>, place: impl Into<String>, offset: usize) -> Self {
        Self { table, place: place.into(), offset, taken: Vec::new() }
    }

    /// Renames the place, once more is known of it.
    pub(super) fn set_place(&mut self, place: impl Into<String>) {
        self.place = place.into();
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether a field is there. It counts as taken.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.taken.push(key);
        self.table.contains_key(key)
    }

    /// Where a field begins, if it is there.
    pub(super) fn offset_of(&self, key: &str) -> Option<usize> {
        self.table.get_key_value(key).map(|(key, _)| key.span().start)
    }

    /// Takes a field, if it is there. What `read` refuses is reported with `example`, which shows
    /// the whole assignment.
    pub(super) fn field<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, ValueError>,
    ) -> Result<Option<T>, Reported> {
        self.taken.push(key);
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match read(value.get_ref()) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(self.refuse(report, key, error, example)),
        }
    }

    /// Reports a problem with a field, at its line, or at the table's if the field is missing.
    pub(super) fn refuse(
        &self,
        report: &mut Report<'_>,
        key: &str,
        reason: impl std::fmt::Display,
        example: &str,
    ) -> Reported {
        let offset = self.offset_of(key).unwrap_or(self.offset);
        let problem = report.at(offset, reason).with_place(&self.place).with_field(key);
        report.add(problem.with_example(example))
    }

    /// Reports the fields that nobody took.
    pub(super) fn finish(self, report: &mut Report<'_>) -> Result<(), Reported> {
        let mut result = Ok(());
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.taken.contains(&name) {
                continue;
            }
            let reason = match nearest(name, &self.taken) {
                Some(near) => format!("there is no such field; did you mean `{near}`?"),
                None => format!("there is no such field; possible are {}", self.taken.join(", ")),
            };
            let problem = report.at(key.span().start, reason);
            result = Err(report.add(problem.with_place(&self.place).with_field(name)));
        }
        result
    }
}

/// The word that is meant, if one is near: at most a third of its letters differ.
fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let distance = |other: &str| edit_distance(word.as_bytes(), other.as_bytes());
    let best = known.iter().min_by_key(|other| distance(other))?;
    (distance(best) <= best.len().div_ceil(3)).then_some(*best)
}

/// Fewest insertions, removals and replacements that make one text the other.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = previous[j] + usize::from(from != to);
            current.push(replaced.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}

/// The text of a value that must be a string.
pub(super) fn text<'t>(value: &'t DeValue<'t>) -> Result<&'t str, ValueError> {
    match value {
        DeValue::String(text) => Ok(text.as_ref()),
        other => Err(wrong_type("a string", other)),
    }
}

/// The number of a value that must be a whole number from 0.
pub(super) fn number(value: &DeValue<'_>) -> Result<u64, ValueError> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| super::value::rule(format!("{number} is not a whole number from 0"))),
        other => Err(wrong_type("a whole number", other)),
    }
}

/// The truth of a value that must be `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, ValueError> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        other => Err(wrong_type("true or false", other)),
    }
}

/// The table of a value that must be one.
pub(super) fn table<'t>(value: &'t DeValue<'t>) -> Result<&'t DeTable<'t>, ValueError> {
    match value {
        DeValue::Table(table) => Ok(table),
        other => Err(wrong_type("a table", other)),
    }
}

/// The items of a value that must be an array.
pub(super) fn array<'t>(value: &'t DeValue<'t>) -> Result<&'t [Spanned<DeValue<'t>>], ValueError> {
    match value {
        DeValue::Array(items) => Ok(items),
        other => Err(wrong_type("an array", other)),
    }
}

pub(super) fn wrong_type(expected: &'static str, found: &DeValue<'_>) -> ValueError {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    ValueError::Type { expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["timeout", "retries", "env", "dir"];
        assert_eq!(nearest("timout", &known), Some("timeout"));
        assert_eq!(nearest("retry", &known), Some("retries"));
        assert_eq!(nearest("envs", &known), Some("env"));
        assert_eq!(nearest("colour", &known), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let report = Report::new(Path::new("f"), "ab\ncd\n\ne");
        let lines: Vec<usize> = [0, 2, 3, 6, 7].iter().map(|at| report.line_of(*at)).collect();
        assert_eq!(lines, [1, 1, 2, 3, 4]);
    }
}
