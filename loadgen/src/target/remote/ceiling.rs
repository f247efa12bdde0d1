//! What the kit itself can send to a server: the same path as in a run, to a server that reads each request and
//! says yes. It measures the kit, never a target.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

use super::{TargetError, TargetName};
use crate::{measure::Account, options::Options, submit::Submitter};

/// Jobs a second that one thread of a closed loop composes, writes to a socket, and accounts for, in requests
/// of `batch`.
pub(crate) fn wire_ceiling(jobs: u32, batch: u32) -> Result<f64, TargetError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    let sink = move || listener.accept().and_then(|(stream, _)| say_yes(stream, batch > 1));
    let sink = thread::Builder::new().name("sink".to_owned()).spawn(sink)?;
    let options = Options {
        target: TargetName::Tcp(address),
        batch: Some(batch),
        in_flight: Some(jobs),
        connections: Some(1),
        workers: Some(0),
        ..Options::new(jobs)
    };
    let account = Arc::new(Account::new(&options));
    let target = super::start(&options, Path::new(""), &account)?;
    let stop = Arc::new(AtomicBool::new(false));
    let submitter = Submitter::new(&options, Arc::clone(&target), Arc::clone(&account), stop);
    let began = Instant::now();
    // The sink refuses nothing.
    let _ = submitter.closed_loop();
    let rate = f64::from(jobs) / began.elapsed().as_secs_f64();
    drop(submitter);
    let _ = target.shutdown(std::time::Duration::ZERO);
    // Its errors are those of a socket that was closed.
    let _ = sink.join();
    Ok(rate)
}

/// Greets, and answers each line as if all of it was done.
fn say_yes(mut stream: TcpStream, in_batches: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"+HI {\"v\":2}\r\n")?;
    let mut bytes = vec![0; 256 << 10];
    let mut is_greeted = false;
    let mut replies = Vec::new();
    loop {
        let len = stream.read(&mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        replies.clear();
        for _ in bytes[..len].iter().filter(|byte| **byte == b'\n') {
            let is_batch = std::mem::replace(&mut is_greeted, true) && in_batches;
            replies.extend_from_slice(if is_batch { b"$2\r\n{}\r\n" } else { b"+OK\r\n" });
        }
        stream.write_all(&replies)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_jobs_and_batches_reach_the_sink() {
        for batch in [1, 50] {
            assert!(wire_ceiling(500, batch).unwrap() > 0.0);
        }
    }
}
