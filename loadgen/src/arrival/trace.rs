//! Recorded arrivals: a file with one moment per line. It knows lines and moments.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Moments of a trace at the most: what a run can number.
const MOMENTS_MAX: usize = u32::MAX as usize;

/// Moments in the order in which jobs are submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The flag that asks for it.
    pub(crate) text: String,
    /// Since the first moment, already replayed at their speed.
    moments_ns: Vec<u64>,
}

/// A trace that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; name another file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no moment.
    #[error(
        "{}, line {line}: {text:?} is no moment; write seconds since the start, and a number of jobs behind it where there is more than one, such as `12.5 3`",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// There is nothing to replay.
    #[error("{} has no moments to replay: name another file or a longer span", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More moments than a run can number.
    #[error("{} has over {MOMENTS_MAX} moments: replay a part of it", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl Trace {
    /// Reads a file of lines `seconds` or `seconds jobs`; empty lines and those that begin with `#` are
    /// skipped. The order does not matter, and time is counted from the earliest.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no moment.
    pub fn read(path: &Path, speed: f64) -> Result<Self, TraceError> {
        let unreadable = |source| TraceError::Unreadable { path: path.to_owned(), source };
        let content = fs::read_to_string(path).map_err(unreadable)?;
        let mut moments_ns = Vec::new();
        for (index, line) in content.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (at_s, jobs) = moment(line).ok_or_else(|| TraceError::Line {
                path: path.to_owned(),
                line: index + 1,
                text: line.chars().take(60).collect(),
            })?;
            if moments_ns.len() + jobs as usize > MOMENTS_MAX {
                return Err(TraceError::TooLong { path: path.to_owned() });
            }
            moments_ns.extend(std::iter::repeat_n((at_s * 1e9) as u64, jobs as usize));
        }
        Self::new(path, format!("trace({},speed={speed})", path.display()), moments_ns, speed)
    }

    /// Moments from elsewhere, in nanoseconds since any instant. `text` is the flag that asks for them.
    ///
    /// # Errors
    /// There are none, or too many.
    pub(crate) fn new(
        path: &Path,
        text: String,
        mut moments_ns: Vec<u64>,
        speed: f64,
    ) -> Result<Self, TraceError> {
        moments_ns.sort_unstable();
        let Some(first_ns) = moments_ns.first().copied() else {
            return Err(TraceError::Empty { path: path.to_owned() });
        };
        if moments_ns.len() > MOMENTS_MAX {
            return Err(TraceError::TooLong { path: path.to_owned() });
        }
        for moment_ns in &mut moments_ns {
            *moment_ns = ((*moment_ns - first_ns) as f64 / speed) as u64;
        }
        Ok(Self { text, moments_ns })
    }

    /// Number of moments.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.moments_ns.len() as u32
    }

    /// Mean rate in jobs per second; a single instant counts as a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let span_ns = self.moments_ns.last().copied().unwrap_or(0);
        f64::from(self.jobs()) / (span_ns as f64 / 1e9).max(1.0)
    }

    /// The moment of job `index`; that of the last one beyond it.
    pub(crate) fn moment_ns(&self, index: usize) -> u64 {
        self.moments_ns[index.min(self.moments_ns.len() - 1)]
    }
}

fn moment(line: &str) -> Option<(f64, u32)> {
    let mut words = line.split_whitespace();
    let at_s: f64 = words.next()?.parse().ok()?;
    let jobs = words.next().map_or(Some(1), |word| word.parse().ok())?;
    (words.next().is_none() && (0.0..1e9).contains(&at_s)).then_some((at_s, jobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str, speed: f64) -> Result<Trace, TraceError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        fs::write(&path, content).unwrap();
        Trace::read(&path, speed)
    }

    #[test]
    fn lines_become_moments_from_the_earliest_on() {
        let trace = read("# seconds jobs\n12.5 2\n\n10\n", 2.0).unwrap();
        assert_eq!(trace.moments_ns, [0, 1_250_000_000, 1_250_000_000]);
        assert_eq!((trace.jobs(), trace.rate()), (3, 2.4));
        assert_eq!(trace.moment_ns(7), 1_250_000_000);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (content, part) in [("1\nsoon\n", "line 2"), ("-1\n", "line 1"), ("1 2 3\n", "line 1")]
        {
            let error = read(content, 1.0).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("12.5 3"), "{error}");
        }
        assert!(read("#\n", 1.0).unwrap_err().to_string().contains("no moments"));
    }
}
