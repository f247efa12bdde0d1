//! What is done to a server on purpose while a load is on it: which faults there are and when each comes.
//! How one is carried out is the target's business.

use std::{fmt, str::FromStr, time::Duration};

use crate::workload::DurationText;

/// Most faults of one run.
pub const FAULTS_MAX: usize = 100;

/// A fault, so long after the first job was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
}

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGKILL, and a start on the same data.
    Kill,
    /// SIGSTOP, and SIGCONT so much later.
    Stop(Duration),
}

impl FaultKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop(_) => "stop",
        }
    }
}

/// The faults of a run, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Faults(pub Vec<Fault>);

/// A text that names no faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fault: write such as kill@20s, for a SIGKILL and a new start after 20 s, or stop@30s:5s, for a server that stands still for 5 s; several with commas, one after the other"
)]
pub struct ParseFaultError(String);

impl Faults {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the server stands still at the most.
    #[must_use]
    pub fn longest_stop(&self) -> Duration {
        let stop = |fault: &Fault| match fault.kind {
            FaultKind::Stop(span) => span,
            FaultKind::Kill => Duration::ZERO,
        };
        self.0.iter().map(stop).max().unwrap_or_default()
    }
}

impl FromStr for Faults {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        let mut faults = Vec::new();
        let mut free = Duration::ZERO;
        for part in text.split(',').map(str::trim) {
            let fault = fault(part).ok_or_else(|| ParseFaultError(part.to_owned()))?;
            // A server that stands still cannot be killed and started meanwhile.
            if fault.at < free || faults.len() == FAULTS_MAX {
                return Err(ParseFaultError(part.to_owned()));
            }
            free = fault.at.saturating_add(Self(vec![fault]).longest_stop());
            faults.push(fault);
        }
        Ok(Self(faults))
    }
}

fn fault(text: &str) -> Option<Fault> {
    let span = |text: &str| text.parse::<DurationText>().ok().map(|text| text.0);
    let (name, when) = text.split_once('@')?;
    match (name, when.split_once(':')) {
        ("kill", None) => Some(Fault { at: span(when)?, kind: FaultKind::Kill }),
        ("stop", Some((at, long))) => {
            Some(Fault { at: span(at)?, kind: FaultKind::Stop(span(long)?) })
        }
        _ => None,
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { at, kind }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}@{}", kind.name(), DurationText(*at))?;
            if let FaultKind::Stop(long) = kind {
                write!(f, ":{}", DurationText(*long))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_printed() {
        for text in ["kill@20s", "kill@20s,stop@30s:5s", "stop@500ms:1s,kill@1500ms"] {
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        assert_eq!("stop@1s:7s".parse::<Faults>().unwrap().longest_stop().as_secs(), 7);
        for text in ["", "kill", "kill@", "kill@5s:1s", "stop@5s", "halt@5s", "stop@1s:5s,kill@2s"]
        {
            let error = text.parse::<Faults>().unwrap_err().to_string();
            assert!(error.contains("kill@20s"), "{text}: {error}");
        }
    }
}
