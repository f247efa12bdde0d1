//! Options as the command line that asks for the same run. It knows flags, and decides nothing.

use std::{fmt, time::Duration};

use super::{Load, Options};
use crate::{
    arrival::Arrivals,
    target::TargetName,
    workload::{DurationText, Outcomes, Service, Tenants},
};

/// The command line that asks for the same run.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tickwheel-loadgen run --target {} --jobs {}", self.target, self.jobs)?;
        if !matches!(self.target, TargetName::Tcp(_)) {
            write!(f, " --durability {}", quoted(&self.durability.to_string()))?;
        }
        match self.load {
            Load::Max => write!(f, " --max --in-flight {}", self.in_flight())?,
            // A trace has a rate of its own.
            Load::Rate(_) if matches!(self.arrivals, Arrivals::Trace(_)) => {}
            Load::Rate(rate) => write!(f, " --rate {rate}")?,
        }
        if self.arrivals != Arrivals::Constant {
            write!(f, " --arrivals {}", quoted(&self.arrivals.to_string()))?;
        }
        let workload = &self.workload;
        write!(f, " --seed {} --payload {}", self.seed, quoted(&workload.payload.to_string()))?;
        write!(f, " --due {} --batch {}", quoted(&workload.due.to_string()), self.batch())?;
        if workload.service != Service::Zero {
            write!(f, " --service {}", quoted(&workload.service.to_string()))?;
        }
        if workload.outcomes != Outcomes::default() {
            write!(f, " --outcomes {}", workload.outcomes)?;
        }
        if workload.outcomes.hang > 0.0 {
            write!(f, " --attempt-timeout {}", DurationText(self.attempt_timeout))?;
        }
        if workload.cancel > 0.0 {
            write!(f, " --cancel {}", workload.cancel)?;
        }
        if workload.tenants != Tenants::One {
            write!(f, " --tenants {}", quoted(&workload.tenants.to_string()))?;
        }
        if self.warm_up > Duration::ZERO {
            write!(f, " --warm-up {}", DurationText(self.warm_up))?;
        }
        if !self.slo.is_empty() {
            write!(f, " --slo {}", quoted(&self.slo.to_string()))?;
        }
        if self.paused {
            f.write_str(" --paused")?;
        }
        if let Some(shards) = self.shards {
            write!(f, " --shards {shards}")?;
        }
        if let Some(executors) = self.executors {
            write!(f, " --executors {executors}")?;
        }
        let counts = [
            ("connections", self.connections),
            ("pipeline", self.pipeline),
            ("workers", self.workers),
            ("fetch", self.fetch),
        ];
        for (flag, count) in counts {
            if let Some(count) = count {
                write!(f, " --{flag} {count}")?;
            }
        }
        if let Some(server) = &self.server {
            write!(f, " --server {}", quoted(&server.display().to_string()))?;
        }
        if !self.faults.is_empty() {
            write!(f, " --fault {}", quoted(&self.faults.to_string()))?;
        }
        if let Some(dir) = &self.data_dir {
            write!(f, " --data-dir {}", quoted(&dir.display().to_string()))?;
        }
        if let Some(patience) = self.give_up_after {
            write!(f, " --give-up-after {}", DurationText(patience))?;
        }
        Ok(())
    }
}

/// The text as a shell reads it as one word.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=%+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("sync"), "sync");
        assert_eq!(quoted("interval(10ms)"), "'interval(10ms)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
