//! Progress of long work, on a terminal only.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};
use tickwheel_engine::store::Progress;

/// Shows how far the work is if standard error is a terminal; else it is quiet.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { bar: io::stderr().is_terminal().then(ProgressBar::hidden) }
    }
}

impl Progress for Bar {
    fn begin(&mut self, what: &str, bytes: u64) {
        let Some(bar) = &mut self.bar else { return };
        bar.finish_and_clear();
        *bar = ProgressBar::new(bytes);
        // The template is a constant; where it could not be read, the plain bar remains.
        let template = "{bar:30} {percent:>3} % · {binary_bytes} of {binary_total_bytes} · {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(crate::problem::printable(what));
    }

    fn reached(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
