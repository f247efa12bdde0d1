//! The transcripts of `docs/protocol.md`, read by the codec, so that the page cannot say what is not so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tickwheel_protocol::{
    Challenge, Command, Greeting, Limits, Password, Reply, ReplyDecoder, limits,
};

const PAGE: &str = include_str!("../../docs/protocol.md");

/// All verbs, those in two words with both.
const VERBS: [&str; 37] = [
    "HELLO",
    "PUSH",
    "PUSHB",
    "FETCH",
    "FETCHB",
    "ACK",
    "ACKB",
    "FAIL",
    "FAILB",
    "EXTEND",
    "CANCEL",
    "BEAT",
    "INFO",
    "FLUSH",
    "END",
    "MUTATE",
    "QUEUE PAUSE",
    "QUEUE RESUME",
    "QUEUE REMOVE",
    "QUEUE LATENCY",
    "TRACK GET",
    "TRACK SET",
    "BATCH NEW",
    "BATCH OPEN",
    "BATCH COMMIT",
    "BATCH STATUS",
    "CRON PUT",
    "CRON GET",
    "CRON LIST",
    "CRON DEL",
    "CRON PAUSE",
    "CRON RESUME",
    "CRON RUN",
    "CRON NEXT",
    "WORKER LIST",
    "WORKER QUIET",
    "WORKER TERMINATE",
];

/// The transcripts: for each request what is answered before the next one, in front of all of them
/// what the server says first.
fn exchanges() -> Vec<(String, Vec<u8>)> {
    let mut exchanges = Vec::new();
    for block in PAGE.split("```transcript\n").skip(1) {
        let mut current = (String::new(), Vec::new());
        for line in block.split("```").next().unwrap().lines() {
            if let Some(request) = line.strip_prefix("> ") {
                exchanges.push(std::mem::replace(&mut current, (request.to_owned(), Vec::new())));
            } else {
                let reply = line.strip_prefix("< ").expect(line);
                current.1.extend_from_slice(reply.as_bytes());
                current.1.extend_from_slice(b"\r\n");
            }
        }
        exchanges.push(current);
    }
    exchanges
}

/// Words of a line that make a verb.
fn verb(request: &str) -> &'static str {
    let fits = |verb: &&&str| {
        request.strip_prefix(**verb).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    VERBS.iter().find(fits).copied().unwrap_or("")
}

#[test]
fn every_transcript_is_what_the_codec_says() {
    let mut shown = BTreeSet::new();
    let mut refusals = 0;
    for (request, answer) in exchanges() {
        let replies = replies(&answer, &request);
        if request.is_empty() {
            assert!(replies.len() <= 1);
            continue;
        }
        assert_eq!(replies.len(), usize::from(request != "END"), "{request}");
        let command = Command::parse(request.as_bytes(), &Limits::DEFAULT);
        shown.insert(verb(&request));
        if let Err(error) = command {
            let expected = format!("ERR {error}");
            assert_eq!(replies, [Reply::Error(&expected)], "{request}");
            refusals += 1;
        }
    }
    assert!(refusals >= 2, "the page shows what is refused");
    let missing: Vec<_> = VERBS.iter().filter(|verb| !shown.contains(**verb)).collect();
    assert!(missing.is_empty(), "the page does not show {missing:?}");
}

fn replies<'a>(answer: &'a [u8], request: &str) -> Vec<Reply<'a>> {
    let mut decoder = ReplyDecoder::new(1 << 20);
    let (mut rest, mut replies) = (answer, Vec::new());
    while let Some((len_bytes, reply)) = decoder.decode(rest).expect(request) {
        if let Reply::Bulk(json @ [b'{' | b'[', ..]) = reply {
            serde_json::from_slice::<serde_json::Value>(json).expect(request);
        }
        replies.push(reply);
        rest = &rest[len_bytes..];
    }
    assert!(rest.is_empty(), "{request}: {:?}", String::from_utf8_lossy(rest));
    replies
}

#[test]
fn the_refusals_of_a_batch_are_the_codecs_words() {
    let (request, answer) =
        exchanges().into_iter().find(|(request, _)| request.starts_with("PUSHB")).unwrap();
    let Command::PushBatch(batch) = Command::parse(request.as_bytes(), &Limits::DEFAULT).unwrap()
    else {
        panic!("{request}");
    };
    let refused = batch.jobs.into_iter().filter_map(Result::err);
    let refused: serde_json::Map<_, _> =
        refused.map(|job| (job.jid.into_owned(), job.error.to_string().into())).collect();
    let [Reply::Bulk(json)] = replies(&answer, &request)[..] else { panic!("{request}") };
    assert_eq!(serde_json::from_slice::<serde_json::Map<_, _>>(json).unwrap(), refused);
}

#[test]
fn the_greetings_and_the_hash_are_right() {
    let exchanges = exchanges();
    let greetings: Vec<_> = exchanges
        .iter()
        .filter(|(_, answer)| answer.starts_with(b"+HI "))
        .map(|(_, answer)| std::str::from_utf8(&answer[1..]).unwrap().trim_end())
        .collect();
    assert_eq!(greetings.len(), 3);
    let challenge = Challenge { rounds: 1545, salt: "55104dc76695721d".into() };
    for text in greetings {
        let greeting = Greeting::parse(text).unwrap();
        assert!(greeting.is_tickwheel);
        assert!(greeting.challenge.is_none_or(|said| said == challenge), "{text}");
    }
    let met: Vec<bool> = exchanges
        .iter()
        .filter_map(|(request, _)| Command::parse(request.as_bytes(), &Limits::DEFAULT).ok())
        .filter_map(|command| {
            if let Command::Hello(hello) = command { Some(hello) } else { None }
                .filter(|hello| hello.password_hash.is_some())
                .map(|hello| {
                    challenge.is_met(
                        &Password::new("foobar"),
                        hello.password_hash.as_ref(),
                        hello.version,
                    )
                })
        })
        .collect();
    assert_eq!(met, [true, false]);
}

#[test]
fn the_bounds_are_the_codecs() {
    let Limits { line_bytes_max, job_bytes_max, batch_items_max } = Limits::DEFAULT;
    assert_eq!(
        (line_bytes_max >> 20, job_bytes_max >> 20, batch_items_max, limits::LINE_BYTES_MAX >> 20),
        (16, 1, 10_000, 256)
    );
    for text in [
        "| 4 KiB |",
        "| 16 MiB | 256 MiB |",
        "| 1 MiB | a line |",
        "| 10,000 | 1,000,000 |",
        "| | 256 |",
        "| | 64 |",
        "| | 255 |",
    ] {
        assert!(PAGE.contains(text), "{text}");
    }
    assert_eq!(Limits::HANDSHAKE.line_bytes_max, 4 << 10);
    assert_eq!((limits::BATCH_ITEMS_MAX, limits::QUEUES_MAX), (1_000_000, 256));
    assert_eq!((limits::LABELS_MAX, limits::NAME_BYTES_MAX), (64, 255));
}
