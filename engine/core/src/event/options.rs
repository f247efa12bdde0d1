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
    batch::{Callback, Membership, Role},
    id::{JobId, Key},
    job::{Conflict, Expiry, JobOptions, Needs, Otherwise, Tags, Unique, Until},
    limits,
    time::{Now, WallTime},
};

/// The instant follows at which the job expires.
const EXPIRES_AT: u16 = 0x01;
/// The span follows after which it expires: only in a schedule's rule and in a batch's callback.
const EXPIRES_AFTER: u16 = 0x02;
/// A key of uniqueness follows that the job holds.
const UNIQUE: u16 = 0x04;
/// The job follows that this one takes the place of: only where the job is added.
const REPLACES: u16 = 0x08;
/// The jobs follow that it waits for.
const NEEDS: u16 = 0x10;
/// It runs also if one of these does not end as it has to. No field.
const OTHERWISE_RUN: u16 = 0x20;
/// Its batch follows, and its part in it.
const BATCH: u16 = 0x40;
/// Its group follows.
const GROUP: u16 = 0x80;
/// Its tags follow.
const TAGS: u16 = 0x100;
/// All bits that this version knows.
const KNOWN: u16 =
    EXPIRES_AT | EXPIRES_AFTER | UNIQUE | REPLACES | NEEDS | OTHERWISE_RUN | BATCH | GROUP | TAGS;

/// [`JobOptions`] as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermOptions<'a> {
    /// When the job expires.
    pub expires_at: Option<u64>,
    /// How long after it was added, in nanoseconds.
    pub expires_after: Option<u64>,
    /// The key of uniqueness that it holds.
    pub unique: Option<UniqueWritten>,
    /// The job that it takes the place of.
    pub replaces: Option<u64>,
    /// The jobs that it waits for; see [`Needs`].
    pub needs: &'a [u8],
    /// It runs also if one of these does not end as it has to.
    pub otherwise_run: bool,
    /// Its batch.
    pub batch: Option<Membership>,
    /// Its group.
    pub group: Option<&'a str>,
    /// Its tags; see [`Tags`].
    pub tags: &'a [u8],
}

/// A key of uniqueness as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueWritten {
    /// The key.
    pub key: Key,
    /// Until when the job holds it.
    pub until: Until,
    /// When it is free at the latest.
    pub free_at: Option<u64>,
}

const UNTIL: [Until; 3] = [Until::Start, Until::End, Until::Time];
const ROLES: [Role; 4] = [
    Role::Member,
    Role::Callback(Callback::Complete),
    Role::Callback(Callback::Success),
    Role::Callback(Callback::Failure),
];

fn code<T: PartialEq>(codes: &[T], value: &T) -> u8 {
    codes.iter().position(|code| code == value).unwrap_or(0) as u8
}

impl<'a> TermOptions<'a> {
    /// Those of a job that is held or asked for, but for the key of uniqueness, of which only who holds it
    /// knows until when.
    pub(crate) fn of(options: &'a JobOptions) -> Self {
        let (expires_at, expires_after) = match options.expires {
            None => (None, None),
            Some(Expiry::At(at)) => (Some(at.0), None),
            Some(Expiry::After(span_ns)) => (None, Some(span_ns)),
        };
        Self {
            expires_at,
            expires_after,
            unique: None,
            replaces: None,
            needs: options.needs.bytes(),
            otherwise_run: options.otherwise == Otherwise::Run && !options.needs.is_empty(),
            batch: options.batch,
            group: options.group.as_deref(),
            tags: options.tags.bytes(),
        }
    }

    /// Those of a job that is added at `now` by these.
    pub(crate) fn settled(self, options: Option<&Arc<JobOptions>>, now: Now) -> Self {
        let expires_at = options.and_then(|options| options.expires_at(now));
        let unique = options.and_then(|options| options.unique);
        let unique = unique.map(|unique| UniqueWritten {
            key: unique.key,
            until: unique.until,
            free_at: unique
                .span_ns
                .map(|ns| now.wall.0.saturating_add(ns).min(limits::DUE_WALL_NS_MAX)),
        });
        Self { expires_at: expires_at.map(|at| at.0), expires_after: None, unique, ..self }
    }

    /// Whether anything is held of them; of most jobs nothing is.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.expires_at.is_some()
            || self.expires_after.is_some()
            || self.unique.is_some()
            || !self.needs.is_empty()
            || self.batch.is_some()
            || self.group.is_some()
            || !self.tags.is_empty()
    }

    /// Whether a group is all that is held of them.
    pub(crate) fn is_group_alone(&self) -> bool {
        self.group.is_some() && !Self { group: None, ..*self }.is_any()
    }

    /// What is held of them; `None` if there is nothing.
    #[inline]
    pub(crate) fn options(&self) -> Option<Arc<JobOptions>> {
        self.is_any().then(|| self.held())
    }

    #[inline(never)]
    pub(crate) fn held(&self) -> Arc<JobOptions> {
        let at = self.expires_at.map(|at| Expiry::At(WallTime(at)));
        let unique = self.unique.map(|unique| Unique {
            key: unique.key,
            until: unique.until,
            span_ns: None,
            conflict: Conflict::default(),
        });
        // That they can be read was checked where they were decoded.
        let needs = Needs::read(self.needs).unwrap_or_default();
        let tags = Tags::read(self.tags).unwrap_or_default();
        let runs = self.otherwise_run && !needs.is_empty();
        Arc::new(JobOptions {
            expires: at.or(self.expires_after.map(Expiry::After)),
            unique,
            needs,
            otherwise: if runs { Otherwise::Run } else { Otherwise::Cancel },
            batch: self.batch,
            group: self.group.map(Arc::from),
            tags,
        })
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
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeEventError> {
        let bounded = config::standard().with_limit::<{ limits::JOB_OPTIONS_BYTES_MAX }>();
        match bincode::borrow_decode_from_slice(bytes, bounded) {
            Ok((options, len)) if len == bytes.len() => Ok(options),
            _ => Err(DecodeEventError("a job's options cannot be read")),
        }
    }
}

impl Encode for TermOptions<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bits = [
            (self.expires_at.is_some(), EXPIRES_AT),
            (self.expires_after.is_some(), EXPIRES_AFTER),
            (self.unique.is_some(), UNIQUE),
            (self.replaces.is_some(), REPLACES),
            (!self.needs.is_empty(), NEEDS),
            (self.otherwise_run, OTHERWISE_RUN),
            (self.batch.is_some(), BATCH),
            (self.group.is_some(), GROUP),
            (!self.tags.is_empty(), TAGS),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set);
        set.fold(0_u16, |mask, (_, bit)| mask | bit).encode(encoder)?;
        for number in [self.expires_at, self.expires_after].into_iter().flatten() {
            number.encode(encoder)?;
        }
        if let Some(UniqueWritten { key, until, free_at }) = self.unique {
            key.0.encode(encoder)?;
            code(&UNTIL, &until).encode(encoder)?;
            free_at.encode(encoder)?;
        }
        if let Some(job) = self.replaces {
            job.encode(encoder)?;
        }
        if !self.needs.is_empty() {
            self.needs.encode(encoder)?;
        }
        if let Some(Membership { batch, role }) = self.batch {
            batch.0.encode(encoder)?;
            code(&ROLES, &role).encode(encoder)?;
        }
        if let Some(group) = self.group {
            group.encode(encoder)?;
        }
        if !self.tags.is_empty() {
            self.tags.encode(encoder)?;
        }
        Ok(())
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for TermOptions<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let mask = u16::borrow_decode(decoder)?;
        if mask & !KNOWN != 0 {
            return Err(DecodeError::Other("a job has options of a newer version"));
        }
        let has = |bit| mask & bit != 0;
        let number = |is_there, decoder: &mut D| match is_there {
            false => Ok(None),
            true => u64::borrow_decode(decoder).map(Some),
        };
        let expires_at = number(has(EXPIRES_AT), decoder)?;
        let expires_after = number(has(EXPIRES_AFTER), decoder)?;
        let unique = match has(UNIQUE) {
            false => None,
            true => Some(UniqueWritten {
                key: Key(<[u8; 16]>::borrow_decode(decoder)?),
                until: *UNTIL
                    .get(usize::from(u8::borrow_decode(decoder)?))
                    .ok_or(DecodeError::Other("a key of uniqueness is held in no known way"))?,
                free_at: Option::borrow_decode(decoder)?,
            }),
        };
        let replaces = number(has(REPLACES), decoder)?;
        let needs = if has(NEEDS) { <&[u8]>::borrow_decode(decoder)? } else { &[] };
        if Needs::read(needs).is_none() {
            return Err(DecodeError::Other("what a job waits for cannot be read"));
        }
        let batch = match has(BATCH) {
            false => None,
            true => Some(Membership {
                batch: JobId(u64::borrow_decode(decoder)?),
                role: *ROLES
                    .get(usize::from(u8::borrow_decode(decoder)?))
                    .ok_or(DecodeError::Other("a job has no known part in its batch"))?,
            }),
        };
        let group = match has(GROUP) {
            false => None,
            true => Some(<&str>::borrow_decode(decoder)?),
        };
        let tags = if has(TAGS) { <&[u8]>::borrow_decode(decoder)? } else { &[] };
        if Tags::read(tags).is_none() {
            return Err(DecodeError::Other("a job's tags cannot be read"));
        }
        let otherwise_run = has(OTHERWISE_RUN);
        Ok(Self {
            expires_at,
            expires_after,
            unique,
            replaces,
            needs,
            otherwise_run,
            batch,
            group,
            tags,
        })
    }
}
