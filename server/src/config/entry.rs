//! `[[schedule]]` and `[[job]]`: one entry each, with the defaults filled in.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tickwheel_engine::cron::Cron;
use toml::de::{DeTable, DeValue};

use super::limits;
use super::reader::{self, Report, Reported, Section};
use super::settings::{self, Defaults, read_common, read_missed, read_zone};
use super::value::{self, ValueError, rule};
use super::{rules, worker};
use crate::command::{Program, Spec};
use crate::crontab;
use crate::plan::{Entry, Missed, Origin, Rules, Task, Timing};

const NAME_EXAMPLE: &str = r#"name = "backup""#;
const CRON_EXAMPLE: &str = r#"cron = "0 30 2 * * *""#;
const EVERY_EXAMPLE: &str = r#"every = "15m""#;
const AT_EXAMPLE: &str = r#"at = "2026-12-01T08:00:00+01:00""#;
const COMMAND_EXAMPLE: &str =
    r#"command = ["pg_dump", "-Fc", "app"], or shell = true with command = "a | b""#;

/// The entries found so far.
pub(super) struct Entries<'d> {
    defaults: &'d Defaults,
    entries: Vec<Entry>,
    /// Names and the lines where they were given.
    lines: HashMap<String, usize>,
}

impl<'d> Entries<'d> {
    pub(super) fn new(defaults: &'d Defaults) -> Self {
        Self { defaults, entries: Vec::new(), lines: HashMap::new() }
    }

    /// Adds a `[[schedule]]`, or reports what is wrong with it.
    pub(super) fn schedule(&mut self, table: &DeTable<'_>, offset: usize, report: &mut Report<'_>) {
        let mut section = Section::new(table, "[[schedule]]", offset);
        let name = self.name(&mut section, "[[schedule]]", report);
        let zone = read_zone(&mut section, report);
        let missed = read_missed(&mut section, report);
        // With a wrong name, which is in the report, the rest is still checked.
        let own_name = name.as_deref().unwrap_or_default();
        let timing = self.timing(&mut section, own_name, zone, report);
        let rules = rules::read(&mut section, report);
        let entry = self.rest(section, name, timing, report);
        if let (Ok(missed), Ok(rules), Ok(entry)) = (missed, rules, entry) {
            let missed = missed.or(self.defaults.missed).unwrap_or_default();
            self.entries.push(Entry { missed, rules, ..entry });
        }
    }

    /// Adds a `[[job]]`, or reports what is wrong with it.
    pub(super) fn job(&mut self, table: &DeTable<'_>, offset: usize, report: &mut Report<'_>) {
        let mut section = Section::new(table, "[[job]]", offset);
        let name = self.name(&mut section, "[[job]]", report);
        let at = section.field(report, "at", AT_EXAMPLE, instant);
        if let Ok(entry) = self.rest(section, name, at.map(Timing::Once), report) {
            self.entries.push(entry);
        }
    }

    pub(super) fn finish(self) -> Vec<Entry> {
        self.entries
    }

    /// Takes the name and puts it in the section's place for the messages that follow.
    fn name(
        &mut self,
        section: &mut Section<'_>,
        kind: &str,
        report: &mut Report<'_>,
    ) -> Result<String, Reported> {
        let name = section.field(report, "name", NAME_EXAMPLE, |value| {
            let name = reader::text(value)?;
            check_name(name).map(|()| name.to_owned())
        })?;
        let Some(name) = name else {
            return Err(section.refuse(report, "name", "it is missing", NAME_EXAMPLE));
        };
        section.set_place(format!("{kind} \"{name}\""));
        let line = report.line_of(section.offset_of("name").unwrap_or(section.offset()));
        if let Some(first) = self.lines.insert(name.clone(), line) {
            self.lines.insert(name, first);
            let reason = format!("line {first} has the same name; names must differ");
            return Err(section.refuse(report, "name", reason, r#"name = "backup-2""#));
        }
        if self.lines.len() > limits::ENTRIES_MAX {
            let reason = format!("more than {} schedules and jobs", limits::ENTRIES_MAX);
            return Err(section.refuse(report, "name", reason, "several servers"));
        }
        Ok(name)
    }

    /// Exactly one of `cron`, `every` and `at`.
    fn timing(
        &self,
        section: &mut Section<'_>,
        name: &str,
        zone: Result<Option<String>, Reported>,
        report: &mut Report<'_>,
    ) -> Result<Timing, Reported> {
        let zone_given = zone != Ok(None);
        // With a wrong zone, which is in the report, the rest is still checked.
        let own_zone = zone.clone().unwrap_or_default().or_else(|| self.defaults.zone.clone());
        let own_zone = own_zone.unwrap_or_else(|| limits::ZONE_DEFAULT.to_owned());
        let cron = section.field(report, "cron", CRON_EXAMPLE, |value| {
            let text = reader::text(value)?;
            Cron::parse_named(text, name).and_then(|cron| cron.with_zone(&own_zone)).map_err(rule)
        });
        let every = section.field(report, "every", EVERY_EXAMPLE, |value| {
            settings::duration_in(value, limits::EVERY)
        });
        let at = section.field(report, "at", AT_EXAMPLE, instant);
        let timing = match (cron?, every?, at?) {
            (Some(cron), None, None) => return zone.map(|_| Timing::Cron(cron)),
            (None, Some(every), None) => Timing::Every(every),
            (None, None, Some(at)) => Timing::Once(Some(at)),
            (None, None, None) => {
                let reason = "one of cron, every and at is needed";
                return Err(section.refuse(report, "cron", reason, CRON_EXAMPLE));
            }
            (cron, _, _) => {
                let key = if cron.is_some() { "cron" } else { "every" };
                let reason = "only one of cron, every and at may be given";
                return Err(section.refuse(report, key, reason, CRON_EXAMPLE));
            }
        };
        if zone_given {
            let reason = "a zone belongs to cron; every and at do not depend on one";
            return Err(section.refuse(report, "zone", reason, CRON_EXAMPLE));
        }
        Ok(timing)
    }

    /// The fields of schedules and jobs alike. Missed and rules are the caller's.
    fn rest(
        &self,
        mut section: Section<'_>,
        name: Result<String, Reported>,
        timing: Result<Timing, Reported>,
        report: &mut Report<'_>,
    ) -> Result<Entry, Reported> {
        let given = match worker::read(&mut section, report) {
            Ok(None) => read_program(&mut section, report).map(Given::Command),
            Ok(Some(asked)) => Ok(Given::Worker(asked)),
            Err(reported) => {
                // They may be right: what is wrong is in the report.
                let _ = (section.has("command"), section.has("shell"));
                Err(reported)
            }
        };
        let own = read_common(&mut section, report);
        let place = (section.offset(), report.line_of(section.offset()));
        let checked = own.and_then(|own| {
            if let Ok(Given::Worker(_)) = given {
                worker::check_common(&section, &own, report)?;
                self.check_reserve(&section, &own, report)?;
            }
            let waits = self.backoff(&section, &own, report)?;
            Ok((own, waits))
        });
        let example = r#"env = {} and a script file in place of a long command"#;
        let entry = match (name, timing, given, checked) {
            (Ok(name), Ok(timing), Ok(given), Ok((own, waits))) => {
                let origin = Origin { file: report.file().to_path_buf(), line: place.1 };
                let entry = self.entry(name, timing, given, own, waits, origin);
                let bytes = match &entry.task {
                    Task::Command(spec) => spec.to_payload().len(),
                    Task::Worker(job) => job.definition.len(),
                };
                if bytes > limits::COMMAND_BYTES_MAX {
                    let reason = format!(
                        "command and env, or args, take {bytes} bytes, at most {} are possible",
                        limits::COMMAND_BYTES_MAX
                    );
                    Err(section.refuse(report, "command", reason, example))
                } else {
                    Ok(entry)
                }
            }
            _ => Err(Reported),
        };
        section.finish(report)?;
        entry
    }

    /// The first and the longest wait between attempts.
    fn backoff(
        &self,
        section: &Section<'_>,
        own: &Defaults,
        report: &mut Report<'_>,
    ) -> Result<(Duration, Duration), Reported> {
        let given = own.backoff.or(self.defaults.backoff);
        let given_max = own.backoff_max.or(self.defaults.backoff_max);
        let backoff = given.unwrap_or(limits::BACKOFF_DEFAULT);
        // A default of ours must not contradict what the user wrote.
        let backoff =
            if given.is_none() { backoff.min(given_max.unwrap_or(backoff)) } else { backoff };
        let max = given_max.unwrap_or(limits::BACKOFF_MAX_DEFAULT.max(backoff));
        if backoff > max {
            let reason = format!(
                "the first wait, {}, is longer than the longest, {}",
                value::format_duration(backoff),
                value::format_duration(max)
            );
            let key = if own.backoff.is_some() { "backoff" } else { "backoff_max" };
            return Err(section.refuse(
                report,
                key,
                reason,
                r#"backoff = "10s", backoff_max = "10m""#,
            ));
        }
        Ok((backoff, max))
    }

    /// Checks that a worker may keep a job as long as the entry says.
    fn check_reserve(
        &self,
        section: &Section<'_>,
        own: &Defaults,
        report: &mut Report<'_>,
    ) -> Result<(), Reported> {
        let (least, most) = limits::RESERVE;
        let reserve = own.timeout.or(self.defaults.timeout).unwrap_or(limits::RESERVE_DEFAULT);
        if (least..=most).contains(&reserve) {
            return Ok(());
        }
        let reason = format!(
            "a worker may keep a job for {} to {}, not {}",
            value::format_duration(least),
            value::format_duration(most),
            value::format_duration(reserve)
        );
        Err(section.refuse(report, "timeout", reason, r#"timeout = "30m""#))
    }

    fn entry(
        &self,
        name: String,
        timing: Timing,
        given: Given,
        own: Defaults,
        (backoff, backoff_max): (Duration, Duration),
        origin: Origin,
    ) -> Entry {
        let unset = self.defaults;
        // Both are within limits that fit, as the constants assert.
        let retries = own.retries.or(unset.retries).and_then(|retries| u16::try_from(retries).ok());
        let retries = retries.unwrap_or(limits::RETRIES_DEFAULT);
        let priority = own.priority.or(unset.priority);
        let priority = priority.and_then(|priority| u8::try_from(priority).ok());
        let priority = priority.unwrap_or(limits::PRIORITY_DEFAULT);
        let task = match given {
            Given::Worker(asked) => {
                let reserve = own.timeout.or(unset.timeout).unwrap_or(limits::RESERVE_DEFAULT);
                Task::Worker(worker::job(asked, &name, &timing, reserve, retries, priority))
            }
            Given::Command(program) => Task::Command(self.spec(name.clone(), program, own)),
        };
        Entry {
            name,
            origin,
            timing,
            missed: Missed::One,
            rules: Rules::default(),
            task,
            attempts_max: retries.saturating_add(1),
            backoff,
            backoff_max,
            priority,
        }
    }

    fn spec(&self, name: String, program: Program, own: Defaults) -> Spec {
        let unset = self.defaults;
        let mut env = unset.env.clone();
        env.extend(own.env);
        let timeout = own.timeout.or(unset.timeout).unwrap_or(limits::TIMEOUT_DEFAULT);
        let grace = own.kill_grace.or(unset.kill_grace).unwrap_or(limits::KILL_GRACE_DEFAULT);
        let output = own.output_limit.or(unset.output_limit);
        Spec {
            name,
            program,
            dir: own.dir.or_else(|| unset.dir.clone()),
            dir_optional: false,
            inherit_env: true,
            env,
            stdin: None,
            run_as: None,
            timeout_ms: whole_ms(timeout),
            kill_grace_ms: whole_ms(grace),
            output_limit_bytes: output.unwrap_or(limits::OUTPUT_BYTES_DEFAULT),
            log_output: limits::LOG_OUTPUT_DEFAULT,
        }
    }
}

/// What an entry was given to do.
enum Given {
    Command(Program),
    Worker(worker::Asked),
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn check_name(name: &str) -> Result<(), ValueError> {
    if name.is_empty() || name.trim() != name {
        return Err(rule("it must not be empty, nor begin or end with a blank"));
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(rule(format!("it is longer than {} bytes", limits::NAME_BYTES_MAX)));
    }
    if name.chars().any(char::is_control) {
        return Err(rule("it holds a control character"));
    }
    for (prefix, whose) in
        [(crontab::NAME_PREFIX, "crontab entries"), (limits::CLIENT_PREFIX, "clients")]
    {
        if name.starts_with(prefix) {
            return Err(rule(format!("names that begin with {prefix:?} belong to {whose}")));
        }
    }
    Ok(())
}

/// `command` with `shell`: an array is executed as it is, a string needs a shell to take it apart.
fn read_program(section: &mut Section<'_>, report: &mut Report<'_>) -> Result<Program, Reported> {
    let shell = section.field(report, "shell", "shell = true", reader::boolean);
    let shell = shell.map(Option::unwrap_or_default);
    let program = section.field(report, "command", COMMAND_EXAMPLE, |value| match (value, shell) {
        (DeValue::String(line), Ok(true)) => shell_line(line),
        (DeValue::String(_), Ok(false)) => Err(rule(
            "a string is not taken apart; give an array, or add shell = true to run it by /bin/sh",
        )),
        (DeValue::Array(_), Ok(true)) => Err(rule(
            "an array is executed without a shell; give a string, or leave out shell = true",
        )),
        (DeValue::Array(_), _) => argv(value),
        // What is wrong with `shell` is in the report; the command may be right either way.
        (DeValue::String(line), Err(Reported)) => shell_line(line),
        (other, _) => Err(reader::wrong_type("an array of strings", other)),
    });
    match (program, shell) {
        (Ok(Some(program)), Ok(_)) => Ok(program),
        (Ok(None), _) => Err(section.refuse(report, "command", "it is missing", COMMAND_EXAMPLE)),
        _ => Err(Reported),
    }
}

fn shell_line(line: &str) -> Result<Program, ValueError> {
    if line.trim().is_empty() {
        return Err(rule("it is empty"));
    }
    refuse_zero(line)?;
    Ok(Program::Shell { shell: "/bin/sh".to_owned(), line: line.to_owned() })
}

fn argv(value: &DeValue<'_>) -> Result<Program, ValueError> {
    let items = reader::array(value)?;
    if items.len() > limits::ARGUMENTS_MAX {
        return Err(rule(format!("it has more than {} arguments", limits::ARGUMENTS_MAX)));
    }
    let mut argv = Vec::with_capacity(items.len());
    for item in items {
        let argument = reader::text(item.get_ref())
            .map_err(|error| rule(format!("argument {}: {error}; put it in quotes", argv.len())))?;
        refuse_zero(argument)?;
        argv.push(argument.to_owned());
    }
    match argv.first() {
        None => Err(rule("it is empty")),
        Some(program) if program.is_empty() => Err(rule("the program's name is empty")),
        Some(_) => Ok(Program::Argv(argv)),
    }
}

fn refuse_zero(text: &str) -> Result<(), ValueError> {
    if text.contains('\0') { Err(rule("it holds a zero byte")) } else { Ok(()) }
}

/// An instant, as a string or as TOML's own type.
pub(super) fn instant(value: &DeValue<'_>) -> Result<SystemTime, ValueError> {
    match value {
        DeValue::Datetime(datetime) => value::instant_of(datetime)
            .map_err(|reason| ValueError::Instant { text: datetime.to_string(), reason }),
        other => value::instant(reader::text(other)?),
    }
}
