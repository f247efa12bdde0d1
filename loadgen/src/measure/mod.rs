//! What is measured while a load runs: histograms per thread, the account of every job, intervals, and
//! the view for whoever watches. It knows jobs by number and asks no target.

mod account;
mod cells;
mod collect;
mod gate;
mod hlog;
mod lanes;
mod live;

pub(crate) use account::{Account, Answer, Ended, Sent};
pub(crate) use cells::Cells;
pub(crate) use collect::{Collected, Collector, Settings};
pub(crate) use lanes::{Lanes, Metric};
