//! Running one command to its end: supervise, capture, time out, cancel.
//!
//! One thread does it all, asleep in `poll` on the output pipe, the input pipe and the process
//! itself; so nothing is left behind that could hang, and a silent command costs a wake-up only
//! for each look at the cancel token.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::group::Group;
use super::spawn::spawn;
use super::{End, Outcome, Output, Spec, Stop};

/// How often the cancel token is looked at.
const CANCEL_CHECK: Duration = Duration::from_millis(100);
/// How often the process is looked at where it cannot be waited on: without a pidfd, or for
/// members of its group that are not our children.
const PROCESS_CHECK: Duration = Duration::from_millis(20);
/// How long SIGKILL may take. Longer means a process stuck in the kernel, or one of another user.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Bytes taken from the pipe at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads between two looks at the clock, so that a command that never stops writing still times out.
const READS_MAX: usize = 64;

const _: () = assert!(READ_BYTES * READS_MAX >= 1 << 20, "one turn empties the largest pipe");

/// Runs a command to its end and never longer than its timeout, its grace and ten seconds.
///
/// The command leads a process group of its own. After the timeout, or when `cancelled` returns
/// true (asked about ten times a second), the whole group gets SIGTERM and, after the grace,
/// SIGKILL. A command that ends by itself ends the run, even if it left a process behind that
/// holds the pipe open: such a process goes on, and what it writes later is lost. Processes that
/// left the group (`setsid`) are not ended.
pub fn run(spec: &Spec, cancelled: &dyn Fn() -> bool) -> Outcome {
    let start = Instant::now();
    let limit = usize::try_from(spec.output_limit_bytes).unwrap_or(usize::MAX);
    let started = match spawn(spec) {
        Ok(started) => started,
        Err(error) => {
            let end = End::NotStarted(error);
            return Outcome { end, output: Output::new(0), elapsed: start.elapsed() };
        }
    };
    let mut pipes = Pipes::new(started.output, started.stdin, spec.stdin.as_deref(), limit);
    let (stopped, status) = supervise(spec, started.child, &mut pipes, cancelled, start);
    pipes.drain();
    Outcome { end: end_of(spec, stopped, status), output: pipes.captured, elapsed: start.elapsed() }
}

#[derive(Clone, Copy)]
enum Cause {
    Timeout,
    Cancel,
}

/// Where a run stands.
#[derive(Clone, Copy)]
enum Phase {
    Running,
    /// SIGTERM was sent.
    Terminating {
        cause: Cause,
        kill_at: Instant,
    },
    /// SIGKILL was sent too.
    Killed {
        cause: Cause,
        give_up_at: Instant,
    },
}

type Stopped = Option<(Cause, Stop)>;

fn supervise(
    spec: &Spec,
    child: Child,
    pipes: &mut Pipes<'_>,
    cancelled: &dyn Fn() -> bool,
    start: Instant,
) -> (Stopped, Option<ExitStatus>) {
    let pid = Pid::from_child(&child);
    let group = Group::of(pid);
    // Absent on kernels before 5.3; then the process is looked at from time to time.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    let timeout_at = start + spec.timeout();
    let mut phase = Phase::Running;
    loop {
        let now = Instant::now();
        let leader_ended = group.leader_ended();
        let wake_at = match phase {
            Phase::Running if leader_ended => return (None, reap(child, false)),
            Phase::Running => {
                let cause = if now >= timeout_at {
                    Some(Cause::Timeout)
                } else {
                    cancelled().then_some(Cause::Cancel)
                };
                if let Some(cause) = cause {
                    group.signal(Signal::TERM);
                    phase = Phase::Terminating { cause, kill_at: now + spec.kill_grace() };
                    continue;
                }
                timeout_at.min(now + CANCEL_CHECK)
            }
            Phase::Terminating { cause, kill_at } => {
                if leader_ended && !group.others_alive() {
                    // Ends what could not be seen; the unreaped leader keeps the id ours.
                    group.signal(Signal::KILL);
                    return (Some((cause, Stop::Terminated)), reap(child, false));
                }
                if now >= kill_at {
                    group.signal(Signal::KILL);
                    phase = Phase::Killed { cause, give_up_at: now + KILL_WAIT };
                    continue;
                }
                kill_at
            }
            Phase::Killed { cause, give_up_at } => {
                if leader_ended && !group.others_alive() {
                    return (Some((cause, Stop::Killed)), reap(child, false));
                }
                if now >= give_up_at {
                    return (Some((cause, Stop::LeftBehind)), reap(child, true));
                }
                give_up_at
            }
        };
        // Once the leader has ended its pidfd is readable for ever, and tells nothing of the others.
        let waitable = if leader_ended { None } else { pidfd.as_ref() };
        let longest = if waitable.is_some() { Duration::MAX } else { PROCESS_CHECK };
        pipes.wait(waitable, wake_at.saturating_duration_since(Instant::now()).min(longest));
    }
}

/// Collects the leader's status. A stuck one is left to a thread of its own, so that it does not
/// stay a zombie once it ends.
fn reap(mut child: Child, stuck: bool) -> Option<ExitStatus> {
    if !stuck {
        return child.wait().ok();
    }
    let status = child.try_wait().ok().flatten();
    if status.is_none() {
        // Without that thread the zombie stays until the server ends: harmless.
        let _ = std::thread::Builder::new().name("reap".to_owned()).spawn(move || child.wait());
    }
    status
}

fn end_of(spec: &Spec, stopped: Stopped, status: Option<ExitStatus>) -> End {
    match (stopped, status) {
        (Some((Cause::Timeout, stop)), _) => End::TimedOut { after: spec.timeout(), stop },
        (Some((Cause::Cancel, stop)), _) => End::Cancelled { stop },
        (None, Some(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Signalled(signal.unwrap_or(0)),
        },
        // The status was taken by somebody else in this process. Unknown is not success.
        (None, None) => End::Exited(-1),
    }
}

/// The pipes to and from a command.
struct Pipes<'a> {
    output: Option<PipeReader>,
    stdin: Option<ChildStdin>,
    /// What of the input is not written yet.
    input: &'a [u8],
    captured: Output,
}

impl<'a> Pipes<'a> {
    fn new(
        output: PipeReader,
        stdin: Option<ChildStdin>,
        input: Option<&'a str>,
        limit_bytes: usize,
    ) -> Self {
        let input = input.unwrap_or("").as_bytes();
        // Nothing to write: the command sees the end of its input at once.
        let stdin = stdin.filter(|_| !input.is_empty());
        Self { output: Some(output), stdin, input, captured: Output::new(limit_bytes) }
    }

    /// Sleeps until a pipe or the process is ready, or the time is over, and serves the pipes.
    fn wait(&mut self, process: Option<&OwnedFd>, longest: Duration) {
        let mut fds = Vec::with_capacity(3);
        if let Some(output) = &self.output {
            fds.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        if let Some(stdin) = &self.stdin {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        }
        if let Some(process) = process {
            fds.push(PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // An interrupted or refused poll is a short wait: the caller looks at everything again.
        let _ = poll(&mut fds, Some(&timeout));
        self.read();
        self.write();
    }

    /// Takes what the pipe holds now. The command has ended, so all of its output is there.
    fn drain(&mut self) {
        self.read();
    }

    fn read(&mut self) {
        let Some(output) = &mut self.output else {
            return;
        };
        let mut bytes = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            match output.read(&mut bytes) {
                Ok(count @ 1..) => self.captured.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end, or an error that another try would not change.
                Ok(0) | Err(_) => {
                    self.output = None;
                    return;
                }
            }
        }
    }

    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.input.is_empty() {
            match stdin.write(self.input) {
                Ok(0) => break,
                Ok(count) => self.input = &self.input[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The command does not want the rest, which is its right.
                Err(_) => break,
            }
        }
        self.stdin = None;
    }
}
