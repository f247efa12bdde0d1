//! The optional fields of a job as they are written: a number whose bits say which fields follow, then
//! those, in the order of their bits. What they mean is `job/options.rs`'s.

use alloc::{sync::Arc, vec::Vec};

use bincode::{
    BorrowDecode, Encode, config,
    de::BorrowDecoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

use super::DecodeEventError;
use crate::{
    job::{Expiry, JobOptions},
    limits,
    time::{Now, WallTime},
};

/// The instant follows at which the job expires.
const EXPIRES_AT: u16 = 0x01;
/// The span follows after which it expires: only in a schedule's rule.
const EXPIRES_AFTER: u16 = 0x02;
/// All bits that this version knows.
const KNOWN: u16 = EXPIRES_AT | EXPIRES_AFTER;

/// [`JobOptions`] as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermOptions {
    /// When the job expires.
    pub expires_at: Option<u64>,
    /// How long after it was added, in nanoseconds.
    pub expires_after: Option<u64>,
}

impl TermOptions {
    pub(crate) fn of(options: &JobOptions) -> Self {
        let (expires_at, expires_after) = match options.expires {
            None => (None, None),
            Some(Expiry::At(at)) => (Some(at.0), None),
            Some(Expiry::After(span_ns)) => (None, Some(span_ns)),
        };
        Self { expires_at, expires_after }
    }

    /// Those of a job that is added at `now` by these.
    pub(crate) fn settled(options: Option<&Arc<JobOptions>>, now: Now) -> Self {
        let expires_at = options.and_then(|options| options.expires_at(now));
        Self { expires_at: expires_at.map(|at| at.0), expires_after: None }
    }

    /// What is held of them; `None` if there are none.
    pub(crate) fn options(self) -> Option<Arc<JobOptions>> {
        let at = self.expires_at.map(|at| Expiry::At(WallTime(at)));
        let options = JobOptions { expires: at.or(self.expires_after.map(Expiry::After)) };
        (!options.is_default()).then(|| Arc::new(options))
    }

    /// Encodes them to the end of `out`, with their length before them.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let mut bytes = [0; limits::JOB_OPTIONS_BYTES_MAX];
        let len = bincode::encode_into_slice(self, &mut bytes, config::standard())
            .expect("each option is bounded, and the bounds fit");
        out.extend((len as u16).to_le_bytes());
        out.extend(&bytes[..len]);
    }

    /// Decodes bytes that hold nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeEventError> {
        let bounded = config::standard().with_limit::<{ limits::JOB_OPTIONS_BYTES_MAX }>();
        match bincode::borrow_decode_from_slice(bytes, bounded) {
            Ok((options, len)) if len == bytes.len() => Ok(options),
            _ => Err(DecodeEventError("a job's options cannot be read")),
        }
    }
}

impl Encode for TermOptions {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bits = [
            (self.expires_at.is_some(), EXPIRES_AT),
            (self.expires_after.is_some(), EXPIRES_AFTER),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set);
        set.fold(0_u16, |mask, (_, bit)| mask | bit).encode(encoder)?;
        for number in [self.expires_at, self.expires_after].into_iter().flatten() {
            number.encode(encoder)?;
        }
        Ok(())
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for TermOptions {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let mask = u16::borrow_decode(decoder)?;
        if mask & !KNOWN != 0 {
            return Err(DecodeError::Other("a job has options of a newer version"));
        }
        let mut number = |bit| match mask & bit {
            0 => Ok(None),
            _ => u64::borrow_decode(decoder).map(Some),
        };
        Ok(Self { expires_at: number(EXPIRES_AT)?, expires_after: number(EXPIRES_AFTER)? })
    }
}
