//! A job of the load as the work protocol has it, and back. It knows texts, and no connection.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{Outgoing, OutgoingDue, inproc::kind_of};
use crate::workload::payload;

/// The queue of all jobs of the load.
pub(super) const QUEUE: &str = "tickwheel-loadgen";
/// Hexadecimal digits of a job's number, and of the number of its run.
const DIGITS: usize = 8;
const SECOND_NS: u64 = 1_000_000_000;

/// What all jobs of a run share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Tells the jobs of this run from those that an earlier one left behind.
    pub(super) run: u32,
    /// How long a worker may keep a job; the server's own if it is not said.
    pub(super) reserve_seconds: Option<u32>,
}

impl Form {
    /// Appends the job as JSON.
    pub(super) fn write(
        &self,
        job: &Outgoing,
        number: u32,
        is_last_try: bool,
        instants: &mut Instants,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"jid\":\"");
        self.write_jid(number, out);
        out.extend_from_slice(b"\",\"jobtype\":\"");
        out.extend_from_slice(kind_of(job.tenant).as_bytes());
        out.extend_from_slice(b"\",\"args\":[\"");
        payload::write_text(out, &job.payload);
        out.extend_from_slice(b"\"],\"queue\":\"");
        out.extend_from_slice(QUEUE.as_bytes());
        out.push(b'"');
        if let OutgoingDue::AtWall(at_ns) = job.due {
            out.extend_from_slice(b",\"at\":\"");
            instants.write(at_ns, out);
            out.push(b'"');
        }
        if let Some(seconds) = self.reserve_seconds {
            out.extend_from_slice(format!(",\"reserve_for\":{seconds}").as_bytes());
        }
        if is_last_try {
            out.extend_from_slice(b",\"retry\":0");
        }
        out.push(b'}');
    }

    /// The id of a job.
    pub(super) fn jid(&self, number: u32) -> String {
        let mut out = Vec::with_capacity(2 * DIGITS);
        self.write_jid(number, &mut out);
        out.into_iter().map(char::from).collect()
    }

    fn write_jid(&self, number: u32, out: &mut Vec<u8>) {
        hexadecimal(self.run, out);
        hexadecimal(number, out);
    }

    /// The number of a job of this run; `None` for any other.
    pub(super) fn number(&self, jid: &str) -> Option<u32> {
        let (run, number) = jid.split_at_checked(DIGITS)?;
        let read = |text: &str| {
            let is_number = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
            is_number.then(|| u32::from_str_radix(text, 16).ok()).flatten()
        };
        if read(run)? == self.run { read(number) } else { None }
    }
}

/// What a worker reads of a job.
#[derive(Debug, Deserialize)]
pub(super) struct Fetched<'a> {
    #[serde(borrow)]
    pub(super) jid: Cow<'a, str>,
    #[serde(borrow)]
    args: &'a RawValue,
}

impl Fetched<'_> {
    /// The payload that was pushed; empty if the arguments are not those of a load.
    pub(super) fn payload(&self, payload: &mut Vec<u8>) {
        let text = self.args.get();
        let text = text.strip_prefix("[\"").and_then(|text| text.strip_suffix("\"]"));
        if !text.is_some_and(|text| payload::read_text(text, payload)) {
            payload.clear();
        }
    }
}

fn hexadecimal(value: u32, out: &mut Vec<u8>) {
    for place in (0..DIGITS).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * place)) as usize & 15]);
    }
}

/// Instants as RFC 3339. The calendar is asked once for each second that comes: most follow each other closely.
#[derive(Debug, Default)]
pub(super) struct Instants {
    second: Option<u64>,
    /// The instant up to its second, and a point.
    prefix: Vec<u8>,
}

impl Instants {
    /// Appends an instant in nanoseconds since 1970.
    fn write(&mut self, at_ns: u64, out: &mut Vec<u8>) {
        let (second, mut nanos) = (at_ns / SECOND_NS, at_ns % SECOND_NS);
        if self.second != Some(second) {
            // A u64 of nanoseconds ends in the year 2554.
            let at = Timestamp::from_second(second as i64).unwrap_or(Timestamp::MAX);
            self.prefix.clear();
            self.prefix.extend_from_slice(at.to_string().trim_end_matches('Z').as_bytes());
            self.prefix.push(b'.');
            self.second = Some(second);
        }
        out.extend_from_slice(&self.prefix);
        let mut digits = [b'Z'; 10];
        for digit in digits[..9].iter_mut().rev() {
            *digit = b'0' + (nanos % 10) as u8;
            nanos /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_the_calendar() {
        let mut instants = Instants::default();
        let late = u64::MAX - 7;
        for at_ns in [0, 1, 999_999_999, 1_000_000_000, 1_709_164_800_000_000_010, late] {
            let mut out = Vec::new();
            instants.write(at_ns, &mut out);
            let text = String::from_utf8(out).unwrap();
            let read: Timestamp = text.parse().unwrap();
            assert_eq!((read.as_nanosecond(), text.len()), (i128::from(at_ns), 30), "{text}");
        }
    }

    #[test]
    fn a_job_comes_back_as_it_was_written() {
        let form = Form { run: 0x0123_abcd, reserve_seconds: Some(60) };
        let mut bytes = vec![0; 40];
        payload::compose(3, 77, &mut bytes);
        let due = OutgoingDue::AtWall(1_700_000_000_123_456_789);
        let job = Outgoing { payload: bytes.clone().into(), due, tenant: 0 };
        let mut text = Vec::new();
        form.write(&job, 77, true, &mut Instants::default(), &mut text);
        let text = String::from_utf8(text).unwrap();
        let job = tickwheel_protocol::Job::parse(&text, 1 << 20).unwrap();
        assert_eq!((&*job.jid, &*job.jobtype, &*job.queue), ("0123abcd0000004d", "load", QUEUE));
        assert_eq!(job.at.unwrap().as_nanosecond(), 1_700_000_000_123_456_789);
        assert_eq!((job.reserve_seconds, job.retry), (60, tickwheel_protocol::Retry::Never));

        let fetched: Fetched<'_> = serde_json::from_str(&text).unwrap();
        let mut payload = vec![1];
        fetched.payload(&mut payload);
        assert_eq!((payload, form.number(&fetched.jid)), (bytes, Some(77)));
        for other in ["0123abce0000004d", "short", "0123abcd0000004d0", "0123abcd+000004d"] {
            assert_eq!(form.number(other), None, "{other}");
        }
        let strange = r#"{"jid":"12345678","args":[1]}"#;
        let fetched: Fetched<'_> = serde_json::from_str(strange).unwrap();
        let mut payload = vec![1];
        fetched.payload(&mut payload);
        assert!(payload.is_empty());
    }
}
