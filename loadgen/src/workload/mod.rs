//! What the jobs of a load are like: when each is due, how long it runs, how it ends, who it belongs
//! to, how large it is. It knows numbers and draws; moments of arrival are in `arrival`.
//!
//! All traits of a job follow from seed and number: the submitter and the handler draw the same, and
//! nothing needs to be kept between them.

mod draw;
mod kinds;
pub(crate) mod payload;
mod span;
pub(crate) mod spec;

pub(crate) use draw::{Ending, Traits};
pub use kinds::{Due, Outcomes, Service, Sizes, TENANTS_MAX, Tenants};
pub use payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
pub use span::{DurationText, ParseDurationError};
pub use spec::SpecError;

/// What the jobs of a load are like. The default: due after a millisecond, done at once, all well, of
/// one tenant, with 100 bytes each.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Workload {
    /// When a job is due.
    pub due: Due,
    /// How long its handler takes.
    pub service: Service,
    /// How its attempts end.
    pub outcomes: Outcomes,
    /// Share of the jobs that are cancelled once they are accepted: 0 to 1.
    pub cancel: f64,
    /// Whose jobs they are.
    pub tenants: Tenants,
    /// Bytes of a payload.
    pub payload: Sizes,
}
