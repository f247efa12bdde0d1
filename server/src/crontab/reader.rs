//! A whole crontab: variables hold for the lines after them, and each entry takes with it what
//! holds at its place.

use std::collections::BTreeMap;
use std::path::Path;

use tickwheel_engine::cron::{Cron, format_time};

use super::lexer::{self, Line, RawEntry, split_percent};
use super::name::Names;
use super::{Crontabs, Format, Host, LineError, User};
use crate::command::{LogOutput, Program, RunAs, Spec};
use crate::config::limits;
use crate::plan::{Entry, Missed, Origin, Rules, Task, Timing};
use crate::problem::Problem;

const SHELL_DEFAULT: &str = "/bin/sh";
const PATH_DEFAULT: &str = "/usr/bin:/bin";

/// Variables that change how other crons work, and what to do without them.
const DIRECTIVES: [(&str, &str); 3] = [
    ("RANDOM_DELAY", ", or begin the command with a sleep"),
    ("CRON_WITHIN", ""),
    ("CRONARGS", ""),
];

/// What was read from the files so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) crontabs: Crontabs,
    pub(super) problems: Vec<Problem>,
    names: Names,
}

/// Reads one file. Refused lines go to the problems, and reading goes on with the next.
pub(super) fn read(file: &Path, bytes: &[u8], format: Format, host: &Host, found: &mut Found) {
    let mut reader = Reader { file, format, host, variables: Variables::new(host) };
    for (index, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let origin = Origin { file: file.to_path_buf(), line: index + 1 };
        let result = match lexer::line(bytes, format) {
            Ok(Line::Nothing) => Ok(()),
            Ok(Line::Variable { name, value }) => reader.variable(name, value, &origin, found),
            Ok(Line::Entry(raw)) => reader.entry(&raw, origin.clone(), found),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            let text = String::from_utf8_lossy(bytes);
            let problem = Problem::new(file, error).with_line(origin.line);
            found.problems.push(problem.with_place(quote(&text)));
        }
    }
}

/// The refused line, short and safe for a terminal.
fn quote(line: &str) -> String {
    const CHARS_MAX: usize = 60;
    let line = line.trim();
    let mut quoted: String = line.chars().take(CHARS_MAX).collect();
    if quoted.len() < line.len() {
        quoted.push('…');
    }
    format!("{quoted:?}")
}

/// What holds at one place of a file.
struct Variables {
    /// Passed on to commands. Not in it: `SHELL`, `HOME`, which have defaults that differ by entry.
    env: BTreeMap<String, String>,
    shell: String,
    home: Option<String>,
    zone: String,
    log_output: LogOutput,
}

impl Variables {
    fn new(host: &Host) -> Self {
        Self {
            env: BTreeMap::from([("PATH".to_owned(), PATH_DEFAULT.to_owned())]),
            shell: SHELL_DEFAULT.to_owned(),
            home: None,
            zone: host.zone.clone(),
            log_output: LogOutput::Always,
        }
    }
}

struct Reader<'a> {
    file: &'a Path,
    format: Format,
    host: &'a Host,
    variables: Variables,
}

impl Reader<'_> {
    fn variable(
        &mut self,
        name: &str,
        value: &str,
        origin: &Origin,
        found: &mut Found,
    ) -> Result<(), LineError> {
        if let Some((name, advice)) = DIRECTIVES.into_iter().find(|(known, _)| *known == name) {
            return Err(LineError::Directive { name: name.to_owned(), advice });
        }
        let mut warn = |reason: &str| {
            let warning = Problem::new(self.file, reason).with_line(origin.line).with_place(name);
            found.crontabs.warnings.push(warning);
        };
        match name {
            "SHELL" if value.starts_with('/') => self.variables.shell = value.to_owned(),
            "SHELL" => {
                return Err(LineError::Shell { shell: value.to_owned() });
            }
            "HOME" => self.variables.home = Some(value.to_owned()),
            "LOGNAME" | "USER" => {
                warn("it is left as it is: commands see the user that they run as");
            }
            "CRON_TZ" => {
                // Any instant will do: what counts is the error, which knows the nearest names.
                format_time(0, value)?;
                self.variables.zone = value.to_owned();
            }
            "MAILTO" if value.is_empty() => self.variables.log_output = LogOutput::OnFailure,
            "MAILTO" => {
                self.variables.log_output = LogOutput::Always;
                warn("mail is not sent yet; output goes to the log (MAILTO=\"\" silences this)");
            }
            "MAILFROM" => warn("mail is not sent yet; output goes to the log"),
            "TZ" => {
                warn("it is passed to commands; to move the fire times, set CRON_TZ");
                self.variables.env.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                if value.contains('$') {
                    warn("a $ is not expanded, as in cron; commands see the text as it stands");
                }
                self.variables.env.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        raw: &RawEntry<'_>,
        origin: Origin,
        found: &mut Found,
    ) -> Result<(), LineError> {
        let timing = self.timing(raw.time)?;
        let (user, run_as) = self.user(raw.user)?;
        let time = raw.time.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let file_name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let parts = [time.as_str(), raw.user.unwrap_or(""), raw.command];
        let spec = self.spec(raw.command, user, run_as);
        let bytes = spec.to_payload().len();
        if bytes > limits::COMMAND_BYTES_MAX {
            return Err(LineError::TooLong { bytes, max: limits::COMMAND_BYTES_MAX });
        }
        let name = found.names.give(&file_name, parts);
        found.crontabs.entries.push(Entry {
            rules: Rules::default(),
            task: Task::Command(Spec { name: name.clone(), ..spec }),
            name,
            origin,
            timing,
            // As cron does: a run that was missed is forgotten, a run that failed is not repeated.
            missed: Missed::Skip,
            attempts_max: 1,
            backoff: limits::BACKOFF_DEFAULT,
            backoff_max: limits::BACKOFF_MAX_DEFAULT,
            priority: limits::PRIORITY_DEFAULT,
        });
        Ok(())
    }

    fn timing(&self, time: &str) -> Result<Timing, LineError> {
        if time.eq_ignore_ascii_case("@reboot") {
            return Ok(Timing::Start);
        }
        Ok(Timing::Cron(Cron::parse_crontab(time)?.with_zone(&self.variables.zone)?))
    }

    /// Who an entry runs as, and whether that takes a change of user.
    fn user(&self, column: Option<&str>) -> Result<(&User, Option<RunAs>), LineError> {
        let server = &self.host.server;
        let Some(name) = column else {
            return Ok((server, None));
        };
        debug_assert_eq!(self.format, Format::System);
        if name == server.name {
            return Ok((server, None));
        }
        let unknown = || LineError::UnknownUser { user: name.to_owned() };
        let user = self.host.users.by_name(name).ok_or_else(unknown)?;
        if server.uid != 0 {
            let (user, server) = (name.to_owned(), server.name.clone());
            return Err(LineError::OtherUser { user, server });
        }
        Ok((user, Some(RunAs { name: name.to_owned(), uid: user.uid, gid: user.gid })))
    }

    fn spec(&self, command: &str, user: &User, run_as: Option<RunAs>) -> Spec {
        let variables = &self.variables;
        let home = variables.home.clone().unwrap_or_else(|| user.home.clone());
        let mut env = variables.env.clone();
        env.insert("SHELL".to_owned(), variables.shell.clone());
        env.insert("HOME".to_owned(), home.clone());
        env.insert("LOGNAME".to_owned(), user.name.clone());
        env.insert("USER".to_owned(), user.name.clone());
        let (line, stdin) = split_percent(command);
        Spec {
            name: String::new(),
            program: Program::Shell { shell: variables.shell.clone(), line },
            dir: Some(home),
            // System users often have a home that does not exist.
            dir_optional: variables.home.is_none(),
            inherit_env: false,
            env,
            stdin,
            run_as,
            timeout_ms: u64::try_from(limits::CRONTAB_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            kill_grace_ms: u64::try_from(limits::KILL_GRACE_DEFAULT.as_millis())
                .unwrap_or(u64::MAX),
            output_limit_bytes: limits::OUTPUT_BYTES_DEFAULT,
            log_output: variables.log_output,
        }
    }
}
