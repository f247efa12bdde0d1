//! SIGHUP: reads the configuration again while the server runs. A wrong one is refused as a whole, and
//! the one before stays in force. What can only change with a new start is named in the log.

use tickwheel_engine::Engine;
use tracing::{error, info, warn};

use super::{ServeOptions, load, load::Loaded, queues, runner::Runner, schedules};
use crate::config::Settings;
use crate::front::Front;

/// Reads the files again and takes over what may change; `loaded` is what is in force.
pub(super) fn reload(
    options: &ServeOptions,
    loaded: &mut Loaded,
    engine: &Engine,
    front: Option<&Front>,
    runner: &Runner,
) {
    let new = match load::load(options) {
        Ok(new) => new,
        Err(problems) => {
            error!("the configuration is refused, and the one before stays in force:\n{problems}");
            return;
        }
    };
    for warning in &new.warnings {
        warn!("{warning}");
    }
    for what in needs_a_start(loaded, &new) {
        warn!("{what} has changed: this takes a new start of the server");
    }
    let names = |entries: &[crate::plan::Entry]| -> Vec<String> {
        entries.iter().map(|entry| entry.name.clone()).collect()
    };
    // What fires while the change is under way may be of either.
    runner.know(names(&loaded.entries).into_iter().chain(names(&new.entries)));
    let applied = schedules::apply(engine, &new.entries, schedules::Moment::Reload)
        .and_then(|()| queues::apply(engine, &new.queues));
    if let Err(problem) = applied {
        error!("the new configuration is in force in part only: {problem}; send SIGHUP again");
        return;
    }
    runner.know(names(&new.entries).into_iter());
    if let (Some(front), Some(options)) = (front, &new.front) {
        front.reload(options, engine);
    }
    loaded.entries = new.entries;
    loaded.queues = new.queues;
    loaded.settings.shutdown_grace = new.settings.shutdown_grace;
    info!(entries = loaded.entries.len(), "the configuration was read again and is in force");
}

/// What of the new configuration is not taken over.
fn needs_a_start(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut check = |what, is_same: bool| {
        if !is_same {
            changed.push(what);
        }
    };
    check("`data_dir`", old.data_dir == new.data_dir);
    check("`durability`", old.settings.durability == new.settings.durability);
    check("`executors`", old.settings.executors == new.settings.executors);
    let history = |loaded: &Settings| (loaded.history, loaded.history_keep, loaded.history_bytes);
    check("the history", history(&old.settings) == history(&new.settings));
    match (&old.front, &new.front) {
        (Some(old), Some(new)) => {
            check("`listen`", old.listen == new.listen);
            check("`io_threads`", old.io_threads == new.io_threads);
            check("`backoff` in [work]", old.backoff == new.backoff);
            check("`ends`", old.ends == new.ends);
            check("`request_timeout`", old.request_wait == new.request_wait);
            check("`allow_flush`", old.allow_flush == new.allow_flush);
        }
        (old, new) => check("whether workers are served", old.is_some() == new.is_some()),
    }
    changed
}
