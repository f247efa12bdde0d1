//! The rounds: each system once, then each again. What fails or is not installed is told, and the others go
//! on.

use crate::{
    PeerError,
    load::Found,
    options::Options,
    system::{ALL, System},
    table,
};

/// What became of a system.
pub(crate) struct Measured {
    pub(crate) system: System,
    /// Its version, or why it was not measured.
    pub(crate) version: Result<String, String>,
    pub(crate) rounds: Vec<Found>,
}

pub(crate) fn run(options: &Options) -> Result<(), PeerError> {
    let is_wanted = |system: &&System| {
        let only = options.only.as_deref().map(str::to_lowercase);
        only.is_none_or(|only| system.name.to_lowercase().starts_with(&only))
    };
    let mut all: Vec<Measured> = ALL
        .iter()
        .filter(is_wanted)
        .map(|system| Measured {
            system: *system,
            version: system.version(options).map_err(|error| error.to_string()),
            rounds: Vec::new(),
        })
        .collect();
    for round in 1..=options.rounds {
        for measured in &mut all {
            if measured.version.is_err() {
                continue;
            }
            let system = measured.system;
            eprintln!("round {round}: {}, {}", system.name, system.setting);
            match system.measure(options, options.size) {
                Ok(found) => measured.rounds.push(found),
                // What failed once is no peer to compare with.
                Err(error) => measured.version = Err(format!("it failed: {error}")),
            }
        }
    }
    let text = table::write(&all, options);
    println!("{text}");
    match &options.write {
        Some(page) => table::put_into(page, &text),
        None => Ok(()),
    }
}
