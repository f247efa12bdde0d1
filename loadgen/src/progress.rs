//! Shows how far a run is, on a terminal only. It reads the account and changes nothing.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::account::Account;

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);

/// A bar that moves by itself until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Dropped first: that is what ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// A bar on standard error if that is a terminal and `wanted`; else nothing.
    pub(crate) fn show(wanted: bool, account: &Arc<Account>) -> Self {
        if !wanted || !io::stderr().is_terminal() {
            return Self { end: None, thread: None };
        }
        let (end, ended) = channel();
        let account = Arc::clone(account);
        let draw = move || draw(&account, &ended);
        // Without a thread there is no bar, and the run goes on all the same.
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(draw).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic while drawing spoils the picture only.
            let _ = thread.join();
        }
    }
}

fn draw(account: &Account, ended: &Receiver<()>) {
    let bar = ProgressBar::new(account.ledger.jobs().into());
    let style =
        "{bar:40} {percent:>3} % · {human_pos} of {human_len} completed · {per_sec} · {msg}";
    // The template is a constant; where it could not be read, the plain bar remains.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
        bar.set_position(account.completed());
        bar.set_message(match account.refused() {
            0 => String::new(),
            refused => format!("{refused} refused"),
        });
    }
    bar.finish_and_clear();
}
