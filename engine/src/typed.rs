//! Typed payloads: a job whose payload is a value of the program's own, as JSON.
//!
//! The engine itself knows bytes alone; this file is a convenience on top of [`NewJob::payload`] and
//! [`Attempt::payload`], behind the feature `json`.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    builder::Builder,
    executor::{Attempt, JobError},
    job::NewJob,
};

/// A value that is the payload of jobs of one kind.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tickwheel_engine::{Attempt, Engine, JobError, JobKind, NewJob};
///
/// #[derive(Serialize, Deserialize)]
/// struct Welcome {
///     address: String,
/// }
///
/// impl JobKind for Welcome {
///     const KIND: &'static str = "welcome";
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let engine = Engine::builder()
///     .data_dir(dir.path())
/// #   .segment_bytes(8 << 20)
///     .typed_handler(|welcome: Welcome, attempt: &Attempt<'_>| {
///         println!("mail to {}, attempt {}", welcome.address, attempt.number());
///         Ok(())
///     })
///     .start()?;
/// engine.submit(NewJob::of(&Welcome { address: "ada@example.org".into() })?)?;
/// # assert!(engine.drain(std::time::Duration::from_secs(10)));
/// # Ok(())
/// # }
/// ```
///
/// Jobs outlive the program that submitted them: a later version must read what an earlier one
/// wrote. Give a new field a default, or the changed value a new kind.
pub trait JobKind: Serialize + DeserializeOwned {
    /// Name of the kind: 1 to 255 bytes.
    const KIND: &'static str;
}

/// A value could not be written as a payload.
#[derive(Debug, thiserror::Error)]
#[error("a payload of kind {kind:?} cannot be written as JSON: {source}")]
pub struct PayloadError {
    kind: &'static str,
    source: serde_json::Error,
}

impl NewJob {
    /// A job of the kind of `value`, with that as its payload.
    ///
    /// # Errors
    /// The value has no form in JSON, such as a map whose keys are not texts. A payload that is
    /// longer than 1 MiB is refused when the job is submitted.
    pub fn of<K: JobKind>(value: &K) -> Result<Self, PayloadError> {
        let written = serde_json::to_vec(value);
        let payload = written.map_err(|source| PayloadError { kind: K::KIND, source })?;
        Ok(Self::new(K::KIND).payload(payload))
    }
}

impl Attempt<'_> {
    /// The payload as a value.
    ///
    /// # Errors
    /// It is not the JSON of such a value. The error is a permanent one, since another attempt would
    /// read the same bytes: a handler returns it as it is.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_slice(self.payload()).map_err(|error| {
            JobError::permanent(format!("the payload of kind {:?}: {error}", self.kind()))
        })
    }
}

impl Builder {
    /// The code for the kind of `K`, which is given the payload as a value. A job whose payload
    /// cannot be read as one fails for good, with the reason as its message.
    #[must_use]
    pub fn typed_handler<K: JobKind>(
        self,
        handler: impl Fn(K, &Attempt<'_>) -> Result<(), JobError> + Send + Sync + 'static,
    ) -> Self {
        self.handler(K::KIND, move |attempt: &Attempt<'_>| handler(attempt.value()?, attempt))
    }
}
