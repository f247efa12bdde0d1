//! The plainest server of the work protocol: version 2 without additions, in memory, a thread for each
//! connection. It may cut connections on purpose.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tickwheel_protocol::{Command, Decoded, Inbox, Limits, RequestDecoder, Retry, reply};

/// How long a `FETCH` waits.
const FETCH_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Jobs {
    ready: VecDeque<String>,
    scheduled: BTreeMap<(Timestamp, u64), String>,
    pushed: u64,
    /// Those that are not done.
    living: HashSet<String>,
    failed: HashMap<String, u32>,
}

struct Shared {
    jobs: Mutex<Jobs>,
    ended: AtomicBool,
    /// Requests after which a connection is cut, the last one carried out and not answered.
    cut_after: Option<u32>,
    cuts: AtomicU32,
}

/// A server that runs until it is dropped.
pub(crate) struct Plain {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Plain {
    pub(crate) fn start(cut_after: Option<u32>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            jobs: Mutex::default(),
            ended: AtomicBool::new(false),
            cut_after,
            cuts: AtomicU32::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    let mut leased = HashMap::new();
                    // A client that goes away is no failure.
                    let _ = serve(&shared, stream.unwrap(), &mut leased);
                    let mut jobs = shared.jobs.lock().unwrap();
                    jobs.ready.extend(leased.into_values());
                });
            }
        });
        Self { address, shared }
    }

    /// Connections that were cut.
    pub(crate) fn cuts(&self) -> u32 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Jobs that are not done.
    pub(crate) fn living(&self) -> usize {
        self.shared.jobs.lock().unwrap().living.len()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    shared: &Shared,
    mut stream: TcpStream,
    leased: &mut HashMap<String, String>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"+HI {\"v\":2}\r\n")?;
    let (mut inbox, mut decoder, mut out) = (Inbox::new(), RequestDecoder::new(), Vec::new());
    let mut requests = 0;
    loop {
        let Decoded::Request { len_bytes, command } =
            decoder.decode(inbox.bytes(), &Limits::DEFAULT)
        else {
            stream.write_all(&out)?;
            out.clear();
            if inbox.read_from(&mut stream)? == 0 {
                return Ok(());
            }
            continue;
        };
        match command {
            Ok(Command::End) => return Ok(()),
            Ok(command) => carry_out(shared, &command, leased, &mut out),
            Err(error) => reply::error(&mut out, "ERR", error),
        }
        inbox.consume(len_bytes);
        requests += 1;
        if shared.cut_after == Some(requests) {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
    }
}

fn carry_out(
    shared: &Shared,
    command: &Command<'_>,
    leased: &mut HashMap<String, String>,
    out: &mut Vec<u8>,
) {
    match command {
        Command::Push(job) => {
            push(&mut shared.jobs.lock().unwrap(), job);
            reply::ok(out);
        }
        Command::PushBatch(batch) => {
            let mut jobs = shared.jobs.lock().unwrap();
            batch.jobs.iter().flatten().for_each(|job| push(&mut jobs, job));
            reply::bulk(out, b"{}");
        }
        Command::Fetch(_) => match fetch(shared) {
            Some(raw) => {
                let jid = tickwheel_protocol::Job::parse(&raw, 1 << 20).unwrap().jid.to_string();
                reply::bulk(out, raw.as_bytes());
                leased.insert(jid, raw);
            }
            None => reply::null(out),
        },
        Command::Ack(jid) => {
            if leased.remove(&**jid).is_some() {
                shared.jobs.lock().unwrap().living.remove(&**jid);
            }
            reply::ok(out);
        }
        Command::Fail(fail) => {
            if let Some(raw) = leased.remove(&*fail.jid) {
                let retry = tickwheel_protocol::Job::parse(&raw, 1 << 20).unwrap().retry;
                let mut jobs = shared.jobs.lock().unwrap();
                *jobs.failed.entry(fail.jid.to_string()).or_default() += 1;
                if retry == Retry::Never {
                    jobs.living.remove(&*fail.jid);
                } else {
                    jobs.ready.push_back(raw);
                }
            }
            reply::ok(out);
        }
        Command::Hello(_) | Command::Beat(_) => reply::ok(out),
        _ => reply::error(out, "ERR", "this server is too plain for that"),
    }
}

fn push(jobs: &mut Jobs, job: &tickwheel_protocol::Job<'_>) {
    if !jobs.living.insert(job.jid.to_string()) {
        return;
    }
    jobs.pushed += 1;
    let raw = job.raw.to_owned();
    match job.at {
        Some(at) => drop(jobs.scheduled.insert((at, jobs.pushed), raw)),
        None => jobs.ready.push_back(raw),
    }
}

fn fetch(shared: &Shared) -> Option<String> {
    let until = Instant::now() + FETCH_WAIT;
    while Instant::now() < until && !shared.ended.load(Ordering::SeqCst) {
        let mut jobs = shared.jobs.lock().unwrap();
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let now = Timestamp::from_nanosecond(since.as_nanos() as i128).unwrap();
        while let Some(first) = jobs.scheduled.first_entry()
            && first.key().0 <= now
        {
            let raw = first.remove();
            jobs.ready.push_back(raw);
        }
        if let Some(raw) = jobs.ready.pop_front() {
            return Some(raw);
        }
        drop(jobs);
        thread::sleep(Duration::from_micros(200));
    }
    None
}
