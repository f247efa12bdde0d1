//! What a demonstration shows: progress while it runs, the account and the latencies at its end.

use std::{
    io::{self, IsTerminal, Write},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tickwheel_engine::{
    Engine, EngineStats,
    latency::{Percentiles, Stage, plot, table},
    ledger::{Balance, Ledger},
};

use super::{
    DemoArgs, DemoError, account,
    load::{LATE, Load},
};

/// How often the terminal is drawn, or the load looked at.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

/// The screen of one run.
pub(super) struct Screen {
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
    jobs: u32,
    seconds: u32,
    asked_jobs: u32,
    resumed: bool,
    before: u64,
}

impl Screen {
    pub(super) fn new(args: &DemoArgs, ledger: &Ledger, resumed: bool) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = "{bar:40} {percent:>3} % · {human_pos} of {human_len} run · {msg}";
            let bar = ProgressBar::new(u64::from(ledger.jobs()));
            // The template is a constant; where it could not be read, the plain bar remains.
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            last_line: Mutex::new(Instant::now()),
            jobs: ledger.jobs(),
            seconds: args.seconds,
            asked_jobs: args.jobs,
            resumed,
            before: ledger.balance().ran,
        }
    }

    pub(super) fn started(&self, engine: &Engine, stats: &EngineStats) {
        let Self { jobs, seconds, .. } = self;
        if self.resumed {
            say(&format!(
                "an earlier run was cut off: {} of its {jobs} jobs had run; the log brought back {} waiting ones and {} that were under way",
                self.before,
                stats.recovered_jobs.saturating_sub(stats.lost_attempts),
                stats.lost_attempts
            ));
            if self.asked_jobs != *jobs {
                say("it is finished first, with its own number of jobs");
            }
        } else {
            say(&format!(
                "{jobs} jobs, each due within {seconds} s of being added, on {} shard(s), and {} schedules",
                engine.shards(),
                stats.counts.schedules
            ));
        }
    }

    /// Shows where the run is, and waits for one frame.
    pub(super) fn show(&self, engine: &Engine, load: &Load) {
        thread::sleep(FRAME);
        let due = self.last_line.lock().is_ok_and(|last| last.elapsed() >= LINE);
        if self.bar.is_none() && !due {
            return;
        }
        let lateness = Percentiles::of(engine.latency().stage(Stage::Lateness));
        let pending = engine.stats().map_or(0, |stats| stats.counts.pending);
        let message = format!(
            "{pending} pending · lateness p99 {:.2} ms · {} schedule runs",
            lateness.p99 as f64 / 1e6,
            load.pulses()
        );
        if let Some(bar) = &self.bar {
            bar.set_position(load.ran());
            bar.set_message(message);
            return;
        }
        say(&format!("{} of {} run · {message}", load.ran(), self.jobs));
        if let Ok(mut last) = self.last_line.lock() {
            *last = Instant::now();
        }
    }

    /// Prints the account and the latencies.
    pub(super) fn finish(
        &self,
        engine: &Engine,
        load: &Load,
        before: &Balance,
        balance: &Balance,
        elapsed: Duration,
    ) -> Result<(), DemoError> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let stats = engine.stats()?;
        let latency = engine.latency();
        let ran = balance.ran - before.ran;
        say(&format!(
            "\n{ran} jobs in {:.1} s ({:.0} a second), {} schedule runs, {} syncs\n\
             log: {:.1} MB written, {:.1} MB of them again by cleaning; {} segments given back, \
             {:.1} MB in use; {} snapshots",
            elapsed.as_secs_f64(),
            ran as f64 / elapsed.as_secs_f64(),
            load.pulses(),
            stats.log_syncs,
            stats.log_appended_bytes as f64 / 1e6,
            stats.log_moved_bytes as f64 / 1e6,
            stats.log_segments_released,
            stats.log_bytes as f64 / 1e6,
            stats.snapshots
        ));
        say(&format!("\n{}", table(&latency)));
        say(&plot("lateness", latency.stage(Stage::Lateness)));
        say(&account(balance, load.late()));
        say(&format!("(late: started over {} ms after its due time)", LATE.as_millis()));
        Ok(())
    }

    pub(super) fn stays(&self) {
        say("the schedules go on; Ctrl-C ends them");
    }
}

/// Prints a line. A reader that went away is no reason to stop a run.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
