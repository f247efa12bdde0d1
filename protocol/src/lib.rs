//! The work protocol of Tickwheel, which is version 2 of the Faktory work protocol with additions.
//!
//! It is a codec for both directions and a small blocking client. It must not know the engine, nor
//! what a server does with a command; `docs/protocol.md` describes the protocol itself.
//!
//! - [`RequestDecoder`] finds [`Command`]s in a stream of bytes, however it is cut. They borrow from
//!   the bytes: of a [`Job`] what routes it is read, the rest stays as it came.
//! - [`reply`] writes replies into one buffer, and [`ReplyDecoder`] reads them.
//! - [`request`] writes requests.
//! - [`Inbox`] holds bytes between two reads, for either side.
//! - [`Greeting`] and [`Password`] are the handshake.
//! - [`Client`] pipelines pushes and fetches in batches.
//!
//! A server reads, decodes all that has come, and writes the replies in one piece:
//!
//! ```
//! use tickwheel_protocol::{Command, Decoded, Inbox, Limits, RequestDecoder, reply};
//!
//! let mut socket: &[u8] = b"PUSH {\"jid\":\"12345678\",\"jobtype\":\"a\",\"args\":[]}\r\nNO\r\nEND\r\n";
//! let (mut inbox, mut decoder, mut replies) = (Inbox::new(), RequestDecoder::new(), Vec::new());
//! inbox.read_from(&mut socket)?;
//! let mut used = 0;
//! while let Decoded::Request { len_bytes, command } =
//!     decoder.decode(&inbox.bytes()[used..], &Limits::DEFAULT)
//! {
//!     used += len_bytes;
//!     match command {
//!         Ok(Command::Push(job)) if job.jobtype == "a" => reply::ok(&mut replies),
//!         Ok(_) => break,
//!         Err(error) => reply::error(&mut replies, "ERR", &error),
//!     }
//! }
//! inbox.consume(used);
//! assert_eq!(replies, b"+OK\r\n-ERR unknown command NO\r\n");
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod command;
mod handshake;
mod inbox;
mod job;
mod json;
pub mod limits;
pub mod reply;
pub mod request;

pub use client::{Client, ClientError, ClientOptions, Push, Refused};
pub use command::{
    BatchCommand, BatchNew, Beat, Callback, Command, CronCommand, CronPut, Decoded, Extend,
    FailReport, FetchBatch, Filter, Missed, Mutation, MutationVerb, Overlap, PushBatch,
    QueueCommand, Queues, RefusedJob, RefusedReport, ReportBatch, RequestDecoder, RequestError,
    Target, Timing, TrackCommand, TrackSet, WorkerCommand,
};
pub use handshake::{Challenge, Greeting, GreetingError, Hello, Identity, Password, PasswordHash};
pub use inbox::Inbox;
pub use job::{Custom, Edits, Failure, Job, JobError, NewJob, Retry, Template, UniqueUntil};
pub use limits::Limits;
pub use reply::{Reply, ReplyDecoder, ReplyError, ServerError};
