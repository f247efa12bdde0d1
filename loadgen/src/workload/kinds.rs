//! The kinds of due times, service times, outcomes, tenants and sizes: their texts and ranges. What is
//! drawn from them is in `draw`.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    DurationText, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, SpecError,
    spec::{Spec, share},
};

/// Tenants at the most: each has histograms of its own in every thread.
pub const TENANTS_MAX: u16 = 256;
/// The longest delay: what a job may be delayed and still be waited for.
const DELAY_MAX: Duration = Duration::from_secs(86_400);
/// The longest that a handler may be asked to take.
const SERVICE_MAX: Duration = Duration::from_secs(3600);

/// When a job is due.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Due {
    /// So long after its submission: 0 to 24 h.
    After(Duration),
    /// Between the two after its submission.
    Uniform(Duration, Duration),
    /// With this mean after its submission, at most a day.
    Exponential(Duration),
    /// All at one instant, so long after the first submission, by the wall clock.
    Herd(Duration),
}

impl Default for Due {
    /// After 1 ms, so that a job goes through the wheel.
    fn default() -> Self {
        Self::After(Duration::from_millis(1))
    }
}

impl Due {
    /// The longest that a job may have to wait.
    #[must_use]
    pub fn max(&self) -> Duration {
        match *self {
            Self::After(delay) | Self::Uniform(_, delay) | Self::Herd(delay) => delay,
            Self::Exponential(mean) => mean.saturating_mul(20).min(DELAY_MAX),
        }
    }
}

impl FromStr for Due {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let usage = "now, a duration such as 5s, uniform(1s,5s), exponential(2s) or herd(5s)";
        let spec = Spec::read(text, "due time", usage)?;
        let due = match spec.name {
            "now" => Self::After(Duration::ZERO),
            "uniform" => {
                let [low, high] = spec.values(["from", "to"])?;
                Self::Uniform(spec.duration(low)?, spec.duration(high)?)
            }
            "exponential" => Self::Exponential(spec.duration(spec.values(["mean"])?[0])?),
            "herd" => Self::Herd(spec.duration(spec.values(["in"])?[0])?),
            span => Self::After(spec.duration(span)?),
        };
        if due.max() > DELAY_MAX {
            return Err(spec.error("it must be at most a day, 24h"));
        }
        match due {
            Self::Uniform(low, high) if low > high => {
                Err(spec.error("the second must not be below the first"))
            }
            due => Ok(due),
        }
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = DurationText;
        match *self {
            Self::After(delay) => write!(f, "{}", text(delay)),
            Self::Uniform(low, high) => write!(f, "uniform({},{})", text(low), text(high)),
            Self::Exponential(mean) => write!(f, "exponential({})", text(mean)),
            Self::Herd(after) => write!(f, "herd({})", text(after)),
        }
    }
}

/// How long a handler takes. It sleeps meanwhile, as one that waits for another machine does.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Service {
    /// It returns at once.
    #[default]
    Zero,
    /// So long.
    Constant(Duration),
    /// Log-normal: median, and the deviation of the logarithm.
    LogNormal(Duration, f64),
    /// The first mostly, the second for this share.
    Bimodal(Duration, Duration, f64),
}

impl FromStr for Service {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let usage =
            "zero, a duration such as 2ms, lognormal(2ms,sigma=0.5) or bimodal(1ms,50ms,5%)";
        let spec = Spec::read(text, "service time", usage)?;
        let (service, longest) = match spec.name {
            "zero" => (Self::Zero, Duration::ZERO),
            "lognormal" => {
                let [median, sigma] = spec.values(["median", "sigma"])?;
                let median = spec.duration(median)?;
                (Self::LogNormal(median, spec.number(sigma, 0.0..=4.0)?), median)
            }
            "bimodal" => {
                let [fast, slow, share] = spec.values(["fast", "slow", "share"])?;
                let (fast, slow) = (spec.duration(fast)?, spec.duration(slow)?);
                (Self::Bimodal(fast, slow, spec.share(share)?), fast.max(slow))
            }
            span => spec.duration(span).map(|span| (Self::Constant(span), span))?,
        };
        if longest > SERVICE_MAX {
            return Err(spec.error("it must be at most an hour, 1h"));
        }
        Ok(service)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = DurationText;
        match *self {
            Self::Zero => f.write_str("zero"),
            Self::Constant(span) => write!(f, "{}", text(span)),
            Self::LogNormal(median, sigma) => {
                write!(f, "lognormal({},sigma={sigma})", text(median))
            }
            Self::Bimodal(fast, slow, share) => {
                write!(f, "bimodal({},{},{share})", text(fast), text(slow))
            }
        }
    }
}

/// Shares of the jobs that do not simply succeed. All but `dead` misbehave in their first attempt and
/// succeed in the second.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub struct Outcomes {
    /// The first attempt returns an error.
    pub fail: f64,
    /// The first attempt hangs until its time limit.
    pub hang: f64,
    /// The first attempt crashes: it panics.
    pub crash: f64,
    /// The only attempt says that a retry is of no use.
    pub dead: f64,
}

impl FromStr for Outcomes {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let usage = "ok, or shares such as fail=1%,hang=0.1%,crash=0.1%,dead=0.1%";
        let spec = Spec::read(text, "list of outcomes", usage)?;
        let mut outcomes = Self::default();
        if text.trim() == "ok" {
            return Ok(outcomes);
        }
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = share(value)
                .ok_or_else(|| spec.error(format!("{part:?} has no share such as 5% or 0.05")))?;
            match name.trim() {
                "fail" => outcomes.fail = value,
                "hang" => outcomes.hang = value,
                "crash" => outcomes.crash = value,
                "dead" => outcomes.dead = value,
                other => return Err(spec.error(format!("{other:?} is no outcome"))),
            }
        }
        if outcomes.fail + outcomes.hang + outcomes.crash + outcomes.dead > 1.0 {
            return Err(spec.error("the shares are more than all jobs"));
        }
        Ok(outcomes)
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares =
            [("fail", self.fail), ("hang", self.hang), ("crash", self.crash), ("dead", self.dead)];
        let texts: Vec<String> = shares
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(name, share)| format!("{name}={share}"))
            .collect();
        f.write_str(if texts.is_empty() { "ok" } else { "" })?;
        f.write_str(&texts.join(","))
    }
}

/// Whose jobs they are. Each tenant has a kind of its own.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Tenants {
    /// All are of one.
    #[default]
    One,
    /// So many, alike: 2 to 256.
    Uniform(u16),
    /// So many, the n-th with a weight of 1 / nˢ.
    Zipf(u16, f64),
    /// So many, the first with this share of all jobs.
    Noisy(u16, f64),
}

impl Tenants {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        match *self {
            Self::One => 1,
            Self::Uniform(count) | Self::Zipf(count, _) | Self::Noisy(count, _) => count,
        }
    }
}

impl FromStr for Tenants {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let usage = "one, uniform(10), zipf(100,s=1.1) or noisy(10,50%)";
        let spec = Spec::read(text, "set of tenants", usage)?;
        let count = |text| spec.number(text, 2..=TENANTS_MAX);
        Ok(match spec.name {
            "one" | "1" => Self::One,
            "uniform" => Self::Uniform(count(spec.values(["count"])?[0])?),
            "zipf" => {
                let [number, s] = spec.values(["count", "s"])?;
                Self::Zipf(count(number)?, spec.number(s, 0.0..=10.0)?)
            }
            "noisy" => {
                let [number, share] = spec.values(["count", "share"])?;
                Self::Noisy(count(number)?, spec.share(share)?)
            }
            _ => return Err(spec.error("it is not known")),
        })
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::One => f.write_str("one"),
            Self::Uniform(count) => write!(f, "uniform({count})"),
            Self::Zipf(count, s) => write!(f, "zipf({count},s={s})"),
            Self::Noisy(count, share) => write!(f, "noisy({count},{share})"),
        }
    }
}

/// Bytes of a payload: 16 to 1,048,576.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sizes {
    /// Always so many.
    Fixed(usize),
    /// Between the two.
    Uniform(usize, usize),
    /// Log-normal: median, and the deviation of the logarithm; cut at the range of a payload.
    LogNormal(usize, f64),
}

impl Default for Sizes {
    fn default() -> Self {
        Self::Fixed(100)
    }
}

impl Sizes {
    /// About how many bytes a payload has.
    #[must_use]
    pub fn typical(&self) -> usize {
        match *self {
            Self::Fixed(bytes) => bytes,
            Self::Uniform(low, high) => low.midpoint(high),
            Self::LogNormal(median, sigma) => {
                (median as f64 * (sigma * sigma / 2.0).exp()) as usize
            }
        }
        .clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX)
    }
}

impl FromStr for Sizes {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let usage = "bytes from 16 to 1048576, uniform(16,4096) or lognormal(200,sigma=1)";
        let spec = Spec::read(text, "payload size", usage)?;
        let bytes = |text: &str| spec.number(text, PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX);
        Ok(match spec.name {
            "uniform" => {
                let [low, high] = spec.values(["from", "to"])?;
                let (low, high) = (bytes(low)?, bytes(high)?);
                if low > high {
                    return Err(spec.error("the second must not be below the first"));
                }
                Self::Uniform(low, high)
            }
            "lognormal" => {
                let [median, sigma] = spec.values(["median", "sigma"])?;
                Self::LogNormal(bytes(median)?, spec.number(sigma, 0.0..=4.0)?)
            }
            fixed => Self::Fixed(bytes(fixed)?),
        })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Uniform(low, high) => write!(f, "uniform({low},{high})"),
            Self::LogNormal(median, sigma) => write!(f, "lognormal({median},sigma={sigma})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text is read, and what is printed is read as the same.
    #[track_caller]
    fn check<T>(good: &[&str], bad: &[&str])
    where
        T: FromStr<Err = SpecError> + fmt::Display + PartialEq + fmt::Debug,
    {
        for text in good {
            let read: T = text.parse().unwrap();
            assert_eq!(read.to_string().parse(), Ok(read), "{text}");
        }
        for text in bad {
            let error = text.parse::<T>().unwrap_err().to_string();
            assert!(error.contains("; write "), "{error}");
        }
    }

    #[test]
    fn each_kind_reads_what_it_prints_and_refuses_the_rest() {
        check::<Due>(
            &["now", "5s", "0", "uniform(1s,5s)", "exponential(2s)", "herd(in=5s)"],
            &["", "5", "25h", "uniform(5s,1s)", "uniform(1s)", "soon", "herd"],
        );
        check::<Service>(
            &["zero", "2ms", "lognormal(2ms,sigma=0.5)", "bimodal(1ms,50ms,5%)"],
            &["fast", "2h", "lognormal(2ms,9)", "bimodal(1ms,2ms,120%)"],
        );
        check::<Outcomes>(
            &["ok", "fail=1%", "fail=0.5,hang=10%,crash=1%,dead=2%"],
            &["fail", "fail=60%,dead=60%", "sleep=1%", ""],
        );
        check::<Tenants>(
            &["one", "uniform(10)", "zipf(100,s=1.1)", "noisy(10,50%)"],
            &["uniform(1)", "uniform(257)", "two", "zipf(3)"],
        );
        check::<Sizes>(
            &["100", "uniform(16,4096)", "lognormal(200,sigma=1)"],
            &["15", "1048577", "uniform(20,16)", "x"],
        );
    }
}
