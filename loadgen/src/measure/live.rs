//! The view for whoever watches a run on a terminal. It draws numbers that others gathered.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Account, collect::Settings};
use crate::result::Interval;

/// A bar on standard error with the numbers of the last interval.
pub(crate) struct Live {
    bar: ProgressBar,
    planned: Duration,
    title: String,
}

impl Live {
    /// Nothing, if it is not wanted or standard error is no terminal.
    pub(crate) fn show(settings: &Settings, jobs: u32) -> Option<Self> {
        if !settings.live || !io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(jobs.into());
        let style = "{bar:24} {percent:>3} % · {human_pos} of {human_len} · {wide_msg}";
        // The template is a constant; where it could not be read, the plain bar remains.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Some(Self { bar, planned: settings.planned, title: settings.title.clone() })
    }

    pub(crate) fn draw(&self, account: &Account, last: Option<&Interval>) {
        self.bar.set_position(account.completed() + account.cancelled() + account.refused());
        let left = self.planned.saturating_sub(self.bar.elapsed());
        // Without a plan the pace so far is all there is to go by.
        let left = if self.planned.is_zero() { self.bar.eta() } else { left };
        let mut text =
            format!("{}{} s left · backlog {}", self.title, left.as_secs(), account.backlog());
        if let Some(last) = last {
            let ms = |ns: u64| ns as f64 / 1e6;
            text.push_str(&format!(
                " · {:.0}/s · late p50 {:.2} p99 {:.2} max {:.2} ms · submit p99 {:.2} ms",
                last.completed as f64 / last.len_s.max(1e-9),
                ms(last.lateness_p50_ns),
                ms(last.lateness_p99_ns),
                ms(last.lateness_max_ns),
                ms(last.submit_p99_ns)
            ));
        }
        if account.refused() > 0 {
            text.push_str(&format!(" · {} refused", account.refused()));
        }
        self.bar.set_message(text);
    }

    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
