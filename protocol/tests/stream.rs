//! Streams of any bytes, cut anywhere: the same requests and replies as in one piece, and no panic.
//!
//! The random numbers come from fixed seeds, so that a failure comes again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;

use proptest::prelude::*;
use tickwheel_protocol::{
    Command, Decoded, Edits, Failure, Job, Limits, ReplyDecoder, RequestDecoder, reply, request,
};

/// Requests of every verb, and some that are wrong, as seeds of the mutations.
const CORPUS: &[&str] = &[
    "HELLO {\"v\":2,\"pwdhash\":\"ab\",\"hostname\":\"h\",\"wid\":\"w\",\"pid\":7,\"labels\":[\"a\"]}\r\n",
    "PUSH {\"jid\":\"12345678\",\"jobtype\":\"a\",\"args\":[1,{\"x\":\"\\u00e9\"}],\"queue\":\"q\",\"custom\":{\"unique_for\":60,\"track\":1}}\r\n",
    "PUSH {\"failure\":{\"retry_count\":1,\"backtrace\":[\"x\"]},\"jid\":\"12345678\",\"jobtype\":\"a\",\"args\":[],\"at\":\"2026-01-01T00:00:00Z\"}\n",
    "PUSHB [{\"jid\":\"12345678\",\"jobtype\":\"a\",\"args\":[]},{\"jid\":\"x\"}]\r\n",
    "FETCH a b c\r\n",
    "FETCHB {\"n\":2,\"wait_ms\":1,\"queues\":[\"a\"]}\r\n",
    "ACK {\"jid\":\"12345678\"}\r\n",
    "ACKB [\"12345678\",\"\\ud83d\\ude00\"]\r\n",
    "FAIL {\"jid\":\"x\",\"errtype\":\"E\",\"message\":\"m\",\"backtrace\":[\"a\",\"b\"]}\r\n",
    "FAILB [{\"jid\":\"x\"},{}]\r\n",
    "EXTEND {\"jid\":\"x\",\"seconds\":3}\r\nCANCEL {\"jid\":\"x\"}\n",
    "BEAT {\"wid\":\"w\",\"current_state\":\"\",\"rss_kb\":1.5}\r\n",
    "INFO\r\nFLUSH\nEND\r\n",
    "MUTATE {\"cmd\":\"kill\",\"target\":\"dead\",\"filter\":{\"jids\":[\"a\"],\"regexp\":\"*\"}}\r\n",
    "QUEUE PAUSE *\r\nQUEUE LATENCY a\r\n",
    "TRACK GET x\r\nTRACK SET {\"jid\":\"x\",\"percent\":3,\"reserve_until\":\"2026-01-01T00:00:00+01:00\"}\r\n",
    "BATCH NEW {\"description\":\"d\",\"complete\":{\"jid\":\"12345678\",\"jobtype\":\"a\",\"args\":[]}}\r\n",
    "CRON PUT {\"name\":\"n\",\"cron\":\"@daily\",\"job\":{\"jobtype\":\"a\",\"args\":[]}}\r\nCRON NEXT n 3\r\n",
    "\r\n\n\r\r\nNO SUCH\r\n",
];

/// Small enough that mutations run into it.
const LIMITS: Limits = Limits { line_bytes_max: 400, job_bytes_max: 300, batch_items_max: 4 };

/// All requests of a stream that arrives in pieces of these lengths, in turn, as text.
fn requests(stream: &[u8], pieces: &[usize]) -> String {
    let (mut decoder, mut seen) = (RequestDecoder::new(), String::new());
    let mut used = 0;
    arrive(stream, pieces, |come| {
        while let Decoded::Request { len_bytes, command } =
            decoder.decode(&stream[used..come], &LIMITS)
        {
            used += len_bytes;
            let is_fatal = command.as_ref().is_err_and(|error| error.is_fatal());
            match command {
                Ok(command) => {
                    inspect(&command);
                    writeln!(seen, "{command:?}").unwrap();
                }
                Err(error) => writeln!(seen, "{error}").unwrap(),
            }
            if is_fatal {
                return false;
            }
        }
        true
    });
    seen
}

fn replies(stream: &[u8], pieces: &[usize]) -> String {
    let (mut decoder, mut seen) = (ReplyDecoder::new(300), String::new());
    let mut used = 0;
    arrive(stream, pieces, |come| {
        loop {
            match decoder.decode(&stream[used..come]) {
                Ok(None) => return true,
                Ok(Some((len_bytes, reply))) => {
                    used += len_bytes;
                    writeln!(seen, "{reply:?}").unwrap();
                }
                Err(error) => {
                    writeln!(seen, "{error}").unwrap();
                    return false;
                }
            }
        }
    });
    seen
}

/// Calls `come` with each length that the stream has as its pieces arrive, until it says no.
fn arrive(stream: &[u8], pieces: &[usize], mut come: impl FnMut(usize) -> bool) {
    let mut len = 0;
    for piece in pieces.iter().copied().cycle() {
        len = stream.len().min(len + piece.max(1));
        if !come(len) || len == stream.len() {
            return;
        }
    }
}

/// What holds of every job that was taken: it is JSON, and edits change what they name and nothing else.
fn inspect(command: &Command<'_>) {
    let Command::Push(job) = command else {
        return;
    };
    serde_json::from_str::<serde::de::IgnoredAny>(job.raw).unwrap();
    // What is carried unread may be JSON that a tree cannot hold: 1e999, or half of a surrogate pair.
    let Ok(before) = serde_json::from_str::<serde_json::Value>(job.raw) else {
        return;
    };
    assert_eq!(before["jid"], *job.jid);
    assert_eq!(serde_json::from_str::<serde_json::Value>(job.args).unwrap(), before["args"]);
    let _ = job.failure();
    let failure = Failure { message: "m".into(), ..Failure::default() };
    let edits = Edits {
        enqueued_at: Some(jiff::Timestamp::UNIX_EPOCH),
        failure: Some(&failure),
        ..Edits::default()
    };
    let mut out = Vec::new();
    job.write_with(edits, &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert_eq!(Job::parse(text, usize::MAX).unwrap().failure().unwrap(), Some(failure.clone()));
    let mut after: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(after["enqueued_at"], "1970-01-01T00:00:00Z");
    let (old, new) = (before.as_object().unwrap(), after.as_object_mut().unwrap());
    for name in ["enqueued_at", "failure"] {
        new.remove(name);
    }
    assert!(
        old.iter()
            .filter(|(name, _)| !["enqueued_at", "failure"].contains(&&***name))
            .eq(new.iter())
    );
}

/// Xorshift64* (Vigna), so that a failure names the seed it comes from.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Bytes that mean something to a parser.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\0",
    b" ",
    b"99999999999999999999",
    b"\"jid\":\"12345678\",",
    b"\"args\":[],",
    b"\"failure\":null,",
    b"+OK\r\n",
    b"$-1\r\n",
    b"$3\r\n",
    b"-ERR x\r\n",
    b"*",
];

fn mutate(random: &mut Random, stream: &mut Vec<u8>) {
    for _ in 0..random.below(6) {
        let at = random.below(stream.len() + 1);
        match random.below(5) {
            0 if at < stream.len() => stream[at] ^= 1 << random.below(8),
            1 if at < stream.len() => drop(stream.remove(at)),
            2 => stream.truncate(at),
            3 => {
                let end = stream.len().min(at + random.below(40));
                let again = stream[at..end].to_vec();
                stream.splice(at..at, again);
            }
            _ => drop(stream.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        }
    }
}

/// How many seeds are tried: `TICKWHEEL_FUZZ_SEEDS`, else what takes a second or so.
fn seeds(few: u64) -> u64 {
    std::env::var("TICKWHEEL_FUZZ_SEEDS").map_or(few, |many| many.parse().unwrap())
}

#[test]
fn mutated_requests_do_not_depend_on_the_cut() {
    let mut jobs = 0;
    for seed in 1..=seeds(20_000) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut stream = Vec::new();
        for _ in 0..=random.below(4) {
            stream.extend_from_slice(CORPUS[random.below(CORPUS.len())].as_bytes());
        }
        mutate(&mut random, &mut stream);
        let whole = requests(&stream, &[usize::MAX / 2]);
        jobs += whole.matches("Push(").count();
        let pieces = [1 + random.below(9), 1 + random.below(50)];
        for pieces in [&[1][..], &pieces] {
            let cut = requests(&stream, pieces);
            assert_eq!(cut, whole, "seed {seed}: {:?}", String::from_utf8_lossy(&stream));
        }
    }
    assert!(jobs > 1000, "the mutations leave too little whole: {jobs}");
}

#[test]
fn mutated_replies_do_not_depend_on_the_cut() {
    for seed in 1..=seeds(4000) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut stream = Vec::new();
        for _ in 0..=random.below(5) {
            match random.below(5) {
                0 => reply::ok(&mut stream),
                1 => reply::null(&mut stream),
                2 => reply::error(&mut stream, "ERR", "no\r\n"),
                _ => reply::bulk(&mut stream, &CORPUS[random.below(CORPUS.len())].as_bytes()[..4]),
            }
        }
        mutate(&mut random, &mut stream);
        let whole = replies(&stream, &[usize::MAX / 2]);
        for pieces in [&[1][..], &[1 + random.below(9), 1 + random.below(50)]] {
            assert_eq!(
                replies(&stream, pieces),
                whole,
                "seed {seed}: {:?}",
                String::from_utf8_lossy(&stream)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do_not_depend_on_the_cut(
        stream in proptest::collection::vec(any::<u8>(), 1..600),
        pieces in proptest::collection::vec(1_usize..40, 1..5),
    ) {
        prop_assert_eq!(requests(&stream, &pieces), requests(&stream, &[stream.len()]));
        prop_assert_eq!(replies(&stream, &pieces), replies(&stream, &[stream.len()]));
    }

    #[test]
    fn what_a_client_writes_a_server_reads(
        jid in "\\PC{8,60}",
        texts in proptest::collection::vec("[^\0]{0,50}", 0..5),
        number in 1_u32..86_400,
    ) {
        let lines: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let message = texts.concat();
        let mut out = Vec::new();
        request::fail(&mut out, &request::Fail { jid: &jid, errtype: "E", message: &message, backtrace: &lines });
        request::ack(&mut out, &jid);
        request::ack_batch(&mut out, &[&jid, &jid]);
        request::extend(&mut out, &jid, number);
        request::beat(&mut out, &jid, "quiet", number.into());
        request::fetch_batch(&mut out, &["a", "b"], number as usize % 9000 + 1, number % 60_000);
        let (mut decoder, mut at) = (RequestDecoder::new(), 0);
        let mut next = || {
            let Decoded::Request { len_bytes, command } = decoder.decode(&out[at..], &Limits::DEFAULT) else {
                panic!("a request has no end");
            };
            at += len_bytes;
            command.unwrap()
        };
        let command = next();
        prop_assert!(
            matches!(&command, Command::Fail(fail) if fail.jid == jid && fail.message == message && fail.backtrace == lines)
        );
        let command = next();
        prop_assert!(matches!(&command, Command::Ack(read) if *read == jid));
        let command = next();
        prop_assert!(matches!(&command, Command::AckBatch(read) if *read == [&*jid, &*jid]));
        let command = next();
        prop_assert!(matches!(&command, Command::Extend(read) if read.jid == jid && read.seconds == number));
        let command = next();
        prop_assert!(matches!(&command, Command::Beat(read) if read.wid == jid && read.rss_kb == u64::from(number)));
        let command = next();
        prop_assert!(matches!(&command, Command::FetchBatch(read) if read.queues == ["a", "b"]));
        prop_assert_eq!(at, out.len());
    }
}
