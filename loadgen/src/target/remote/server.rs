//! A `tickwheel serve` that a run starts for itself: its start, its numbers as the system knows them, what is
//! done to it on purpose, and its end. It knows the program and its process, and no job.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    options::Options,
    place::bytes_below,
    target::{ProcessUse, TargetError},
};

/// How long a server may take until it serves: it may have a log to read.
const START_WAIT: Duration = Duration::from_secs(120);
/// How long it may take to end in order.
const END_WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// Lines of what it says that are kept, for when it does not come up.
const LINES_KEPT: usize = 10;
/// The line that says where it listens.
const LISTENS: &str = "listening for workers";
/// Name of its configuration, and of the folder of its data, in the place of the run.
const CONFIG: &str = "serve.toml";
const DATA: &str = "data";

/// A server of a run.
#[derive(Debug)]
pub(super) struct Server {
    program: PathBuf,
    dir: PathBuf,
    /// Where it listens, also after a kill.
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// What processes before this one took.
    before: ProcessUse,
}

impl Server {
    /// Starts a server on fresh data in `dir`, on a port that the system chooses.
    pub(super) fn start(options: &Options, dir: &Path) -> Result<Self, TargetError> {
        let program = match &options.server {
            Some(program) => program.clone(),
            None => beside_this_program(),
        };
        let failed =
            |why: String| TargetError::Server { program: program.display().to_string(), why };
        // A retry comes soon, as in a process: else a run with failures would take minutes.
        let config = format!(
            "[engine]\ndurability = \"{}\"\n\n[work]\nbackoff = \"10ms\"\nbackoff_max = \"10ms\"\n",
            options.durability
        );
        // The server's folder is not this process's.
        let dir = fs::canonicalize(dir).map_err(|error| failed(error.to_string()))?;
        fs::write(dir.join(CONFIG), config).map_err(|error| failed(error.to_string()))?;
        let (child, address) = spawn(&program, &dir, &own_address()).map_err(failed)?;
        let state = Mutex::new(State { child, before: ProcessUse::default() });
        Ok(Self { program, dir, address, state })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it with SIGKILL and starts it again on the same data. It serves when this returns.
    pub(super) fn kill_and_start(&self) -> Result<(), String> {
        let mut state = self.state();
        state.before = sum(state.before, process_use(state.child.id()));
        state.child.kill().map_err(|error| format!("it cannot be killed: {error}"))?;
        state.child.wait().map_err(|error| format!("it cannot be waited for: {error}"))?;
        let (child, _) = spawn(&self.program, &self.dir, &self.address)?;
        state.child = child;
        Ok(())
    }

    /// Stops it for so long.
    pub(super) fn stand_still(&self, span: Duration) -> Result<(), String> {
        // The lock is held meanwhile: nobody ends a process that stands still.
        let state = self.state();
        let pid = Pid::from_child(&state.child);
        kill_process(pid, Signal::STOP)
            .map_err(|error| format!("it cannot be stopped: {error}"))?;
        thread::sleep(span);
        kill_process(pid, Signal::CONT).map_err(|error| format!("it cannot go on: {error}"))
    }

    /// What all its processes took so far.
    pub(super) fn used(&self) -> ProcessUse {
        let state = self.state();
        let used = sum(state.before, process_use(state.child.id()));
        ProcessUse { disk_bytes: bytes_below(&self.dir.join(DATA)), ..used }
    }

    /// Ends it in order, or by force if it takes too long.
    pub(super) fn end(&self) -> Result<(), String> {
        let mut state = self.state();
        if let Ok(Some(status)) = state.child.try_wait() {
            return Err(format!("the server ended by itself: {status}"));
        }
        let _ = kill_process(Pid::from_child(&state.child), Signal::TERM);
        let until = Instant::now() + END_WAIT;
        while Instant::now() < until {
            match state.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server ended badly: {status}")),
                Ok(None) => thread::sleep(LOOK),
                Err(error) => return Err(format!("the server cannot be waited for: {error}")),
            }
        }
        Err(format!("the server did not end within {END_WAIT:?}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        let _ = state.child.kill();
        let _ = state.child.wait();
    }
}

/// Where `cargo build` and an installation put the server: beside this program.
fn beside_this_program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.with_file_name("tickwheel")
}

/// An address of this machine that no other program asks for a port of: on one that others use, too, they
/// may be given the server's port while it is killed and started again.
fn own_address() -> String {
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{high}.{low}:0", 200 + DRAWN.fetch_add(1, Ordering::Relaxed) % 50)
}

/// Starts a server and waits until it serves. The second is where.
fn spawn(program: &Path, dir: &Path, listen: &str) -> Result<(Child, String), String> {
    let mut command = Command::new(program);
    command.args(["serve", "--config", CONFIG, "--listen", listen, "--data-dir", DATA]);
    // What it logs is read here, so its level must not depend on who runs this.
    command.env_remove("RUST_LOG").env_remove("TICKWHEEL_PASSWORD");
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let served = child
        .stderr
        .take()
        .ok_or_else(|| "nothing can be read of what it says".to_owned())
        .and_then(|stderr| wait_until_served(&mut child, stderr));
    match served {
        Ok(address) => Ok((child, address)),
        Err(why) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(why)
        }
    }
}

fn wait_until_served(child: &mut Child, stderr: ChildStderr) -> Result<String, String> {
    let kept = Arc::new(Mutex::new(VecDeque::new()));
    let said = listen_to(stderr, Arc::clone(&kept)).map_err(|error| error.to_string())?;
    let until = Instant::now() + START_WAIT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match said.recv_timeout(left.min(Duration::from_millis(100))) {
            Ok(address) => return Ok(address),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                return Err(format!("it does not listen after {START_WAIT:?}"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().map_err(|error| error.to_string())?;
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let lines: Vec<String> = kept.iter().cloned().collect();
                return Err(format!("it ended ({status}) and said {}", lines.join(" | ")));
            }
        }
    }
}

/// Reads what a server says until its end, so that its pipe never fills.
fn listen_to(
    stderr: ChildStderr,
    kept: Arc<Mutex<VecDeque<String>>>,
) -> std::io::Result<Receiver<String>> {
    let (sender, said) = channel();
    let read = move || {
        let mut sender = Some(sender);
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let address = line
                .contains(LISTENS)
                .then(|| line.split("address=").nth(1)?.split_whitespace().next())
                .flatten();
            if let Some(address) = address
                && let Some(sender) = sender.take()
            {
                // Whoever waited may have given up.
                let _ = sender.send(address.to_owned());
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LINES_KEPT {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    };
    thread::Builder::new().name("server-log".to_owned()).spawn(read)?;
    Ok(said)
}

fn sum(one: ProcessUse, other: ProcessUse) -> ProcessUse {
    ProcessUse {
        cpu_ns: one.cpu_ns + other.cpu_ns,
        rss_bytes: one.rss_bytes.max(other.rss_bytes),
        disk_bytes: 0,
    }
}

/// Processor time and peak of memory of a process, as `/proc` has them; zero where it does not say.
fn process_use(pid: u32) -> ProcessUse {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces. User and system time are fields 14 and 15 of all.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    ProcessUse { cpu_ns: (ticks(11) + ticks(12)) * tick_ns, rss_bytes: kib << 10, disk_bytes: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_asked_for_by_its_id() {
        let used = process_use(std::process::id());
        assert!(used.rss_bytes > 1 << 20, "{used:?}");
        assert_eq!(process_use(u32::MAX), ProcessUse::default());
    }

    #[test]
    fn a_program_that_is_no_server_is_named_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { server: Some("/bin/false".into()), ..Options::new(1) };
        let error = Server::start(&options, dir.path()).unwrap_err().to_string();
        assert!(error.contains("/bin/false does not serve: it ended"), "{error}");
        let options = Options { server: Some("/not/there".into()), ..Options::new(1) };
        let error = Server::start(&options, dir.path()).unwrap_err().to_string();
        assert!(error.contains("--server"), "{error}");
    }
}
