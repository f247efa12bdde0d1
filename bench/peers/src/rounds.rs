//! Starts the measurements as processes, in interleaved rounds, and has what they wrote counted by
//! others.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    PeerError,
    child::{Counted, Written},
    machine,
    options::{Options, Task, Work},
    peer::{Measure, Name},
    report,
};

/// One measurement and its check.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) round: u32,
    pub(crate) store: &'static str,
    pub(crate) measure: &'static str,
    #[serde(flatten)]
    pub(crate) written: Option<Written>,
    #[serde(flatten)]
    pub(crate) counted: Option<Counted>,
    /// Why one of them is missing.
    pub(crate) failure: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), PeerError> {
    let machine = machine::describe(&options.dir);
    let names: Vec<Name> = Name::ALL
        .into_iter()
        .filter(|name| options.only.is_none_or(|only| only == *name))
        .collect();
    let mut outcomes = Vec::new();
    for round in 1..=options.rounds {
        for measure in Measure::ALL {
            for name in names.iter().filter(|name| name.obstacle(measure).is_none()) {
                eprintln!(
                    "round {round} of {}: {} {}",
                    options.rounds,
                    measure.text(),
                    name.text()
                );
                outcomes.push(measure_once(options, round, *name, measure)?);
            }
        }
    }
    if options.is_json {
        for outcome in &outcomes {
            println!("{}", serde_json::to_string(outcome)?);
        }
    } else {
        report::print(&machine, options, &names, &outcomes);
    }
    Ok(())
}

fn measure_once(
    options: &Options,
    round: u32,
    name: Name,
    measure: Measure,
) -> Result<Outcome, PeerError> {
    let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(&options.dir)?;
    let Options { records_max, time_max, .. } = *options;
    let task = Task::Write { measure, records_max, time_max };
    let mut outcome = Outcome {
        round,
        store: name.text(),
        measure: measure.text(),
        written: None,
        counted: None,
        failure: None,
    };
    match ask(name, dir.path(), task) {
        Ok(written) => outcome.written = Some(written),
        Err(error) => outcome.failure = Some(error.to_string()),
    }
    if outcome.written.is_some() {
        match ask(name, dir.path(), Task::Count) {
            Ok(counted) => outcome.counted = Some(counted),
            Err(error) => outcome.failure = Some(format!("not counted: {error}")),
        }
    }
    dir.close()?;
    Ok(outcome)
}

/// Runs a child and reads its answer.
fn ask<T: DeserializeOwned>(name: Name, dir: &Path, task: Task) -> Result<T, PeerError> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = prepare(&mut command, name, dir, task).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
        return Err(format!("{}: {said}", output.status).into());
    }
    let answer = String::from_utf8(output.stdout)?;
    // A store may print to standard output as well.
    let line = answer.lines().next_back().unwrap_or_default();
    Ok(serde_json::from_str(line)?)
}

/// Adds what a child has to be told.
pub(crate) fn prepare<'c>(
    command: &'c mut Command,
    name: Name,
    dir: &Path,
    task: Task,
) -> &'c mut Command {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    // One of the stores takes its directory only so, and is talkative otherwise.
    command.env("WALRUS_DATA_DIR", &dir).env("WALRUS_QUIET", "1");
    command.args(Work { name, dir, task }.to_args())
}
