//! A `PUSH` from bytes to a checked job: by the codec, and its JSON alone by the parsers that it could be
//! built on. It knows those parsers and the shape of a job, never a socket.
//!
//! Each parser reads the fields that route a job as borrowed text and keeps the arguments unread, checks
//! the whole for syntax, and UTF-8 with it; a parser that skips those checks would carry bytes that break
//! whoever reads them later.

use std::{
    borrow::Cow,
    hint::black_box,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use sonic_rs::LazyValue;
use tickwheel_protocol::{Command, Decoded, Job, Limits, RequestDecoder, reply};

use crate::random::Random;

/// Requests of one round.
pub const ROUND: u32 = 1000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Lines to checked jobs, and their replies into one buffer: all that a server does around a push.
    Codec,
    /// JSON to checked jobs: the codec's part that a parser decides.
    Job,
    /// `serde_json`, the arguments as a raw value.
    SerdeJson,
    /// `sonic-rs`, the arguments as a lazy value.
    SonicRs,
    /// `simd-json`, into a tree of borrowed values. It writes into its input, so a copy is made, and it
    /// has no values that stay unread.
    SimdJson,
    /// The check for UTF-8 and one look at each byte: what no way can be without.
    Floor,
}

impl Way {
    /// All that are measured.
    pub const ALL: [Self; 6] =
        [Self::Codec, Self::Job, Self::SerdeJson, Self::SonicRs, Self::SimdJson, Self::Floor];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Job => "job",
            Self::SerdeJson => "serde_json",
            Self::SonicRs => "sonic-rs",
            Self::SimdJson => "simd-json",
            Self::Floor => "utf8",
        }
    }
}

/// Pushes with arguments of one length.
#[derive(Clone, Debug)]
pub struct Pushes {
    /// All lines, one behind another.
    stream: Vec<u8>,
    /// The jobs in them, in the order of the lines.
    jobs: Vec<Box<[u8]>>,
    /// Bytes of the arguments of each.
    args_bytes: Vec<usize>,
    /// Sum of [`weight`] over the jobs.
    expected: u64,
}

#[derive(Deserialize)]
struct Lean<'a> {
    jid: &'a str,
    jobtype: &'a str,
    queue: &'a str,
    #[serde(borrow)]
    args: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    retry: i64,
    #[serde(borrow)]
    custom: LeanCustom<'a>,
}

#[derive(Deserialize)]
struct LeanSonic<'a> {
    jid: &'a str,
    jobtype: &'a str,
    queue: &'a str,
    #[serde(borrow)]
    args: LazyValue<'a>,
    #[serde(borrow)]
    created_at: LazyValue<'a>,
    retry: i64,
    #[serde(borrow)]
    custom: LeanCustom<'a>,
}

#[derive(Deserialize)]
struct LeanCustom<'a> {
    unique_for: u64,
    #[serde(borrow)]
    unique_until: Cow<'a, str>,
}

impl Pushes {
    /// A round of pushes, whose arguments take `args_bytes` bytes as JSON: 8 to 16,384.
    ///
    /// # Panics
    /// If `args_bytes` lies outside that range.
    #[must_use]
    pub fn new(args_bytes: usize) -> Self {
        assert!((8..=16_384).contains(&args_bytes), "arguments have 8 to 16384 bytes");
        let mut random = Random::new();
        let (mut stream, mut jobs, mut lens, mut expected) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUND {
            let jid = format!("{:016x}", random.below(1 << 60));
            let mut args = format!("[{}", random.below(1000));
            // Numbers, texts and an object, as arguments are; then what is missing in one text.
            if args_bytes > 64 {
                let person = random.below(1 << 40);
                args.push_str(&format!(r#",{{"id":{person},"tags":["new","eu"]}},true"#));
            }
            let missing = args_bytes.saturating_sub(args.len() + 4);
            args.push_str(&format!(r#","{}"]"#, "x".repeat(missing)));
            let job = format!(
                r#"{{"jid":"{jid}","jobtype":"send_email","args":{args},"queue":"mail","created_at":"2026-11-20T12:00:00.123456789Z","retry":25,"custom":{{"unique_for":60,"unique_until":"start","tenant":"a"}}}}"#
            );
            expected += weight(&jid, "send_email", "mail", args.len(), 25, 60);
            tickwheel_protocol::request::push(&mut stream, job.as_bytes());
            lens.push(args.len());
            jobs.push(job.into_bytes().into_boxed_slice());
        }
        Self { stream, jobs, args_bytes: lens, expected }
    }

    /// Time to read a round of pushes, `rounds` times.
    ///
    /// # Panics
    /// If a job is read wrongly.
    #[must_use]
    pub fn read(&self, way: Way, rounds: u64) -> Duration {
        let mut scratch = Vec::new();
        let mut elapsed = Duration::ZERO;
        for _ in 0..rounds {
            let began = Instant::now();
            let sum = match way {
                Way::Codec => self.codec(&mut scratch),
                Way::Job => self.each(job),
                Way::SerdeJson => self.each(serde_json),
                Way::SonicRs => self.each(sonic_rs),
                Way::SimdJson => {
                    let jobs = self.jobs.iter().zip(&self.args_bytes);
                    jobs.map(|(job, len)| simd_json(black_box(job), *len, &mut scratch)).sum()
                }
                Way::Floor => {
                    black_box(self.each(utf8));
                    self.expected
                }
            };
            elapsed += began.elapsed();
            assert_eq!(sum, self.expected, "{} has read a job wrongly", way.name());
        }
        elapsed
    }

    fn each(&self, mut read: impl FnMut(&[u8]) -> u64) -> u64 {
        self.jobs.iter().map(|job| read(black_box(job))).sum()
    }

    /// As a server does it: all that one read has brought, and one buffer of replies.
    fn codec(&self, replies: &mut Vec<u8>) -> u64 {
        let (mut decoder, mut used, mut sum) = (RequestDecoder::new(), 0, 0);
        replies.clear();
        let stream = black_box(&self.stream[..]);
        while let Decoded::Request { len_bytes, command: Ok(Command::Push(job)) } =
            decoder.decode(&stream[used..], &Limits::DEFAULT)
        {
            used += len_bytes;
            sum += weight_of(&job);
            reply::ok(replies);
        }
        assert_eq!(replies.len(), 5 * self.jobs.len(), "each push has one reply");
        sum
    }
}

fn utf8(job: &[u8]) -> u64 {
    str::from_utf8(job).map_or(0, |text| text.len() as u64)
}

fn job(job: &[u8]) -> u64 {
    let text = str::from_utf8(job).unwrap_or_default();
    Job::parse(text, 1 << 20).map_or(0, |job| weight_of(&job))
}

fn serde_json(job: &[u8]) -> u64 {
    let text = str::from_utf8(job).unwrap_or_default();
    let job: Result<Lean<'_>, _> = serde_json::from_str(text);
    job.map_or(0, |job| {
        black_box((job.created_at, job.custom.unique_until));
        weight(
            job.jid,
            job.jobtype,
            job.queue,
            job.args.get().len(),
            job.retry,
            job.custom.unique_for,
        )
    })
}

fn sonic_rs(job: &[u8]) -> u64 {
    let job: Result<LeanSonic<'_>, _> = sonic_rs::from_slice(job);
    job.map_or(0, |job| {
        black_box((job.created_at, job.custom.unique_until));
        let args_bytes = job.args.as_raw_str().len();
        weight(job.jid, job.jobtype, job.queue, args_bytes, job.retry, job.custom.unique_for)
    })
}

/// A tree has no text of the arguments, so their length is handed in.
fn simd_json(job: &[u8], args_bytes: usize, scratch: &mut Vec<u8>) -> u64 {
    use simd_json::prelude::*;
    scratch.clear();
    scratch.extend_from_slice(job);
    let Ok(tree) = simd_json::to_borrowed_value(scratch) else {
        return 0;
    };
    let text = |name| tree.get_str(name).unwrap_or_default();
    let unique_for = tree.get("custom").and_then(|custom| custom.get_u64("unique_for"));
    let args_bytes = if tree.get_array("args").is_some() { args_bytes } else { 0 };
    let retry = tree.get_i64("retry").unwrap_or_default();
    weight(text("jid"), text("jobtype"), text("queue"), args_bytes, retry, unique_for.unwrap_or(0))
}

fn weight_of(job: &Job<'_>) -> u64 {
    let retry = match job.retry {
        tickwheel_protocol::Retry::Times(times) => times.into(),
        _ => 0,
    };
    let unique_for = job.custom.unique_for.map_or(0, |span| span.as_secs());
    weight(&job.jid, &job.jobtype, &job.queue, job.args.len(), retry, unique_for)
}

/// A number that shows whether a job was read rightly.
fn weight(
    jid: &str,
    jobtype: &str,
    queue: &str,
    args_bytes: usize,
    retry: i64,
    unique_for: u64,
) -> u64 {
    let jid = jid.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let lens = jobtype.len() + 7 * queue.len() + 31 * args_bytes;
    (jid >> 16) + lens as u64 + 1000 * retry.unsigned_abs() + unique_for
}
