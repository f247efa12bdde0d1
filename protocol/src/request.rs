//! Requests as a client writes them. It must not know what is answered.
//!
//! Each function appends one line. JSON that is given as bytes is trusted to be JSON; breaks of lines in
//! it, which can only be white space there, become spaces, so that nothing given can begin a request of
//! its own.

use serde::Serialize;

use crate::json;

/// Appends `PUSH` with a job as JSON.
pub fn push(out: &mut Vec<u8>, job: &[u8]) {
    out.extend_from_slice(b"PUSH ");
    raw(out, job);
    end(out);
}

/// Appends `PUSHB` with jobs as JSON.
pub fn push_batch<J: AsRef<[u8]>>(out: &mut Vec<u8>, jobs: impl IntoIterator<Item = J>) {
    out.extend_from_slice(b"PUSHB [");
    let mut is_first = true;
    for job in jobs {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        raw(out, job.as_ref());
    }
    out.push(b']');
    end(out);
}

/// Appends `FETCH`. Names of queues have no white space.
pub fn fetch(out: &mut Vec<u8>, queues: &[&str]) {
    out.extend_from_slice(b"FETCH");
    for queue in queues {
        out.push(b' ');
        raw(out, queue.as_bytes());
    }
    end(out);
}

/// Appends `FETCHB`: up to `count_max` jobs after at most `wait_ms`.
pub fn fetch_batch(out: &mut Vec<u8>, queues: &[&str], count_max: usize, wait_ms: u32) {
    #[derive(Serialize)]
    struct Wire<'r> {
        n: usize,
        wait_ms: u32,
        queues: &'r [&'r str],
    }
    object(out, "FETCHB", &Wire { n: count_max, wait_ms, queues });
}

/// Appends `ACK`.
pub fn ack(out: &mut Vec<u8>, jid: &str) {
    object(out, "ACK", &Jid { jid });
}

/// Appends `ACKB`.
pub fn ack_batch(out: &mut Vec<u8>, jids: &[&str]) {
    object(out, "ACKB", jids);
}

/// What a worker says about a failure.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fail<'r> {
    /// The job.
    pub jid: &'r str,
    /// The type of the error; the server keeps 100 characters.
    pub errtype: &'r str,
    /// What happened; the server keeps 1000 characters.
    pub message: &'r str,
    /// Where; the server keeps 50 lines.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub backtrace: &'r [&'r str],
}

/// Appends `FAIL`.
pub fn fail(out: &mut Vec<u8>, fail: &Fail<'_>) {
    object(out, "FAIL", fail);
}

/// Appends `FAILB`.
pub fn fail_batch(out: &mut Vec<u8>, fails: &[Fail<'_>]) {
    object(out, "FAILB", fails);
}

/// Appends `EXTEND`: the lease ends `seconds` from now.
pub fn extend(out: &mut Vec<u8>, jid: &str, seconds: u32) {
    #[derive(Serialize)]
    struct Wire<'r> {
        jid: &'r str,
        seconds: u32,
    }
    object(out, "EXTEND", &Wire { jid, seconds });
}

/// Appends `CANCEL`.
pub fn cancel(out: &mut Vec<u8>, jid: &str) {
    object(out, "CANCEL", &Jid { jid });
}

/// Appends `BEAT`. The state is empty while the worker works.
pub fn beat(out: &mut Vec<u8>, wid: &str, current_state: &str, rss_kb: u64) {
    #[derive(Serialize)]
    struct Wire<'r> {
        wid: &'r str,
        #[serde(skip_serializing_if = "str::is_empty")]
        current_state: &'r str,
        rss_kb: u64,
    }
    object(out, "BEAT", &Wire { wid, current_state, rss_kb });
}

/// Appends `INFO`.
pub fn info(out: &mut Vec<u8>) {
    out.extend_from_slice(b"INFO\r\n");
}

/// Appends `FLUSH`, which clears the server.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"FLUSH\r\n");
}

/// Appends `END`.
pub fn end_connection(out: &mut Vec<u8>) {
    out.extend_from_slice(b"END\r\n");
}

/// Appends any other request: a verb, and its arguments as they are.
pub fn other(out: &mut Vec<u8>, verb: &str, args: &[u8]) {
    raw(out, verb.as_bytes());
    if !args.is_empty() {
        out.push(b' ');
        raw(out, args);
    }
    end(out);
}

#[derive(Serialize)]
struct Jid<'r> {
    jid: &'r str,
}

fn object(out: &mut Vec<u8>, verb: &str, value: &(impl Serialize + ?Sized)) {
    out.extend_from_slice(verb.as_bytes());
    out.push(b' ');
    json::write(out, value);
    end(out);
}

fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.extend_from_slice(bytes);
    if memchr::memchr2(b'\n', b'\r', bytes).is_some() {
        for byte in &mut out[begin..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}
