//! What is wrong with an input file, and where: the one form in which the configuration and the
//! crontab reader report. It knows nothing of what either file may hold.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing that is wrong with an input file.
///
/// Its text is one line, `file:line: place: field `name`: reason; e.g. example`. Parts that do not
/// apply are left out, and whatever could steer a terminal is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Line in the file, counted from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// The part of the file, such as `[[schedule]] "backup"`.
    pub place: Option<String>,
    /// The field of that part.
    pub field: Option<String>,
    /// Why it is refused.
    pub reason: String,
    /// What a right one looks like.
    pub example: Option<String>,
}

impl Problem {
    /// A problem with a file as a whole; the other parts are added by the `with` methods.
    pub fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self {
            file: file.to_path_buf(),
            line: None,
            place: None,
            field: None,
            reason: reason.to_string(),
            example: None,
        }
    }

    /// The same problem, at a line (from 1).
    #[must_use]
    pub fn with_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The same problem, in a part of the file.
    #[must_use]
    pub fn with_place(self, place: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// The same problem, in a field of that part.
    #[must_use]
    pub fn with_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// The same problem, with a right one to copy.
    #[must_use]
    pub fn with_example(self, example: impl Into<String>) -> Self {
        Self { example: Some(example.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(place) = &self.place {
            write!(f, " {}:", printable(place))?;
        }
        if let Some(field) = &self.field {
            write!(f, " field `{}`:", printable(field))?;
        }
        write!(f, " {}", printable(&self.reason))?;
        match &self.example {
            Some(example) => write!(f, "; e.g. {}", printable(example)),
            None => Ok(()),
        }
    }
}

/// A text as one line that is safe for a terminal or a log: control characters other than tabs are
/// escaped, and so are the characters that turn the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || (c.is_control() && c != '\t') {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Why input files were refused. Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read; name one that exists and that this user may read.
    #[error("{}: cannot be read: {source}; check the path and its permissions", file.display())]
    Unreadable {
        /// The file as the user named it.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The files were read, and these are all the problems found in them.
    #[error("{}", list(problems))]
    Refused {
        /// In the order of the files and their lines; never empty.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Ends a reading: its value if there was no problem, else all of the problems.
pub(crate) fn refuse_if_any<T>(value: T, problems: Vec<Problem>) -> Result<T, LoadError> {
    if problems.is_empty() { Ok(value) } else { Err(LoadError::Refused { problems }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_problem_names_everything_in_one_line() {
        let problem = Problem::new(Path::new("a.toml"), "has five fields")
            .with_line(7)
            .with_place("[[schedule]] \"backup\"")
            .with_field("cron")
            .with_example("cron = \"0 30 2 * * *\"");
        assert_eq!(
            problem.to_string(),
            "a.toml:7: [[schedule]] \"backup\": field `cron`: has five fields; \
             e.g. cron = \"0 30 2 * * *\""
        );
    }

    #[test]
    fn no_part_can_steer_a_terminal() {
        let hostile = "a\x1b[2J\n\r\u{9b}\u{202e}\tb";
        let problem = Problem::new(Path::new(hostile), hostile)
            .with_place(hostile)
            .with_field(hostile)
            .with_example(hostile);
        let safe = "a\\u{1b}[2J\\n\\r\\u{9b}\\u{202e}\tb";
        assert_eq!(
            problem.to_string(),
            format!("{safe}: {safe}: field `{safe}`: {safe}; e.g. {safe}")
        );
    }

    #[test]
    fn parts_that_do_not_apply_are_left_out() {
        assert_eq!(Problem::new(Path::new("b"), "is empty").to_string(), "b: is empty");
    }
}
