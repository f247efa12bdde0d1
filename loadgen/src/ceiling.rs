//! What the kit itself can do: the cost of recording one event, the rate at which one thread can
//! generate, and a round trip over the loopback. It measures the kit, never a target.

use std::{
    hint::black_box,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tickwheel_engine::latency::{self, Percentiles};

use crate::{
    clock,
    limits::{SyncTimes, mean_ns},
    measure::{Account, Lanes, Metric},
    options::{Load, Options},
    submit::Submitter,
    target::Null,
};

/// Jobs that are generated to find the ceiling.
const JOBS: u32 = 1_000_000;
/// Round trips over the loopback.
const ROUND_TRIPS: u32 = 2000;
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the kit can do on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Nanoseconds to record one event in a histogram, on average.
    pub record_ns: f64,
    /// Jobs a second that one thread of a closed loop composes, sends and accounts for, on a target
    /// that takes everything at once.
    pub closed_loop_per_s: f64,
    /// The same for an open loop that is always behind its plan.
    pub open_loop_per_s: f64,
    /// A byte to a thread and back over TCP on the loopback.
    pub loopback_ns: SyncTimes,
}

impl Ceiling {
    /// Measures it within a few seconds.
    ///
    /// # Errors
    /// The loopback cannot be used.
    pub fn measure() -> io::Result<Self> {
        Ok(Self {
            record_ns: record(),
            closed_loop_per_s: generate(Load::Max),
            open_loop_per_s: generate(Load::Rate(crate::RATE_MAX)),
            loopback_ns: loopback()?,
        })
    }
}

/// Recording as handlers do it, through the lane of the thread, with values that wander.
fn record() -> f64 {
    let lanes = Lanes::new(1);
    let mut value = 1_u64;
    mean_ns(|| {
        value =
            value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Spans between 1 µs and 1 s, as they come from a run.
        let span_ns = 1000 << (value >> 60).min(20) | (value >> 54);
        lanes.with(|lane| lane.record(Metric::Lateness, black_box(span_ns)));
    })
}

fn generate(load: Load) -> f64 {
    let options = Options { load, in_flight: Some(JOBS), ..Options::new(JOBS) };
    let account = Arc::new(Account::new(&options));
    let stop = Arc::new(AtomicBool::new(false));
    let submitter = Submitter::new(&options, Arc::new(Null), Arc::clone(&account), stop);
    let began = Instant::now();
    // The null target refuses nothing.
    let _ = match load {
        Load::Max => submitter.closed_loop(),
        Load::Rate(rate) => submitter.open_loop(rate),
    };
    f64::from(JOBS) / began.elapsed().as_secs_f64()
}

fn loopback() -> io::Result<SyncTimes> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo =
        thread::Builder::new().name("echo".to_owned()).spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ROUND_TRIP_TIMEOUT))?;
            let mut byte = [0];
            while stream.read(&mut byte)? > 0 {
                stream.write_all(&byte)?;
            }
            Ok(())
        })?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ROUND_TRIP_TIMEOUT))?;
    let mut histogram = latency::histogram();
    for _ in 0..ROUND_TRIPS {
        let began_ns = clock::mono_ns();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        histogram.saturating_record(clock::mono_ns() - began_ns);
    }
    drop(stream);
    // Its errors are those of this side.
    let _ = echo.join();
    let Percentiles { p50, p99, max, count, .. } = Percentiles::of(&histogram);
    Ok(SyncTimes { p50, p99, max, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_measured() {
        let ceiling = Ceiling::measure().unwrap();
        assert!(ceiling.record_ns > 0.0 && ceiling.open_loop_per_s > 0.0, "{ceiling:?}");
        assert_eq!(ceiling.loopback_ns.count, u64::from(ROUND_TRIPS));
    }
}
