//! `--check`: prints what was understood, and runs nothing.

use std::fmt::Write;
use std::time::SystemTime;

use tickwheel_engine::cron::format_time;

use super::load::load;
use super::{ServeError, ServeOptions};
use crate::command::{Program, Spec};
use crate::config::value::format_duration;
use crate::next::unix_ns;
use crate::plan::{Entry, Task, Timing};

/// Reads what the options name and says how it was understood: per entry where it stands, its name,
/// its timing in words, its next fire time and its command; and where workers are served.
///
/// # Errors
/// [`ServeError::Load`], with all problems of all files.
pub fn check(options: &ServeOptions) -> Result<String, ServeError> {
    let loaded = load(options)?;
    let now = SystemTime::now();
    let mut report = String::new();
    for entry in &loaded.entries {
        report.push_str(&describe(entry, now));
    }
    for queue in &loaded.queues {
        report.push_str(&format!("queue {} has limits\n", queue.name));
    }
    if let Some(front) = &loaded.front {
        let password = if front.password.is_some() { "with" } else { "without" };
        let tls = if front.tls.is_some() { ", by TLS" } else { "" };
        report.push_str(&format!(
            "workers are served at {}, {password} a password{tls}\n",
            front.listen
        ));
    }
    for warning in &loaded.warnings {
        report.push_str(&format!("warning: {warning}\n"));
    }
    let (entries, warnings) = (loaded.entries.len(), loaded.warnings.len());
    report.push_str(&format!("{entries} understood, {warnings} warnings, nothing refused\n"));
    Ok(report)
}

fn describe(entry: &Entry, now: SystemTime) -> String {
    let mut text =
        format!("{}:{}: {}\n", entry.origin.file.display(), entry.origin.line, entry.name);
    let (when, next) = when(&entry.timing, now);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "    when     {when}");
    let _ = writeln!(text, "    next     {next}");
    let _ = match &entry.task {
        Task::Command(spec) => writeln!(text, "    command  {}", command(spec)),
        Task::Worker(job) => writeln!(text, "    job      {} in queue {}", job.kind, job.queue),
    };
    text
}

/// The timing in words, and the next fire time if the server started now.
fn when(timing: &Timing, now: SystemTime) -> (String, String) {
    match timing {
        Timing::Cron(cron) => {
            let source = cron.source().split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            let when = format!("{source}  ({})", cron.describe());
            let next = unix_ns(now).and_then(|now| cron.next_after(now));
            let next = next.and_then(|next| format_time(next, cron.zone_name()).ok());
            (when, next.unwrap_or_else(|| "never".to_owned()))
        }
        Timing::Every(every) => {
            let every = format_duration(*every);
            (format!("every {every}"), format!("{every} after its first start"))
        }
        Timing::Once(None) => ("once".to_owned(), "when it is first started".to_owned()),
        Timing::Once(Some(at)) => {
            let time = unix_ns(*at).and_then(|at| format_time(at, "UTC").ok());
            let time = time.unwrap_or_else(|| "beyond the calendar".to_owned());
            (format!("once, at {time}"), time)
        }
        Timing::Start => ("@reboot".to_owned(), "at each start".to_owned()),
    }
}

fn command(spec: &Spec) -> String {
    let command = match &spec.program {
        Program::Argv(argv) => format!("{argv:?}"),
        Program::Shell { shell, line } => format!("{shell} -c {line:?}"),
    };
    match &spec.run_as {
        Some(user) => format!("{command} as {}", user.name),
        None => command,
    }
}
