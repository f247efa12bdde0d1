//! The real server as a process: it runs what it is given, survives, and ends as it should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Longer than anything here takes, on any machine.
const AMPLE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
struct Server {
    child: Child,
    lines: Receiver<String>,
    log: String,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickwheel"))
            .arg("serve")
            .args(arguments)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .env("TZ", "UTC")
            .env_remove("RUST_LOG")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, log: String::new() }
    }

    /// Waits for a log line that holds all of `parts`, and returns it.
    fn expect(&mut self, parts: &[&str]) -> String {
        self.expect_all(&[parts])
    }

    /// Waits for several log lines, in any order; each holds all parts of its list. Returns the
    /// last to come.
    fn expect_all(&mut self, lines: &[&[&str]]) -> String {
        let deadline = Instant::now() + AMPLE;
        let mut missing = lines.to_vec();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {missing:?} in\n{}", self.log);
            };
            self.log.push_str(&line);
            self.log.push('\n');
            missing.retain(|parts| !parts.iter().all(|part| line.contains(part)));
            if missing.is_empty() {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the whole log is in `log` afterwards.
    fn wait(&mut self) -> ExitStatus {
        // The log ends when the process does.
        while let Ok(line) = self.lines.recv_timeout(AMPLE) {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        let status = self.child.try_wait().unwrap();
        status.unwrap_or_else(|| self.child.wait().unwrap())
    }

    /// SIGTERM, and a good end.
    fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log);
        std::mem::take(&mut self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

fn lines_in(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn a_schedule_runs_each_second_and_the_state_survives() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[schedule]]\nname = \"pulse\"\ncron = \"* * * * * *\"\nshell = true\ncommand = \"echo x >> pulse\"\n\
                  [[job]]\nname = \"first\"\nshell = true\ncommand = \"echo y >> first\"\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    for _ in 0..2 {
        let line = server.expect(&[
            "run succeeded",
            "name=\"pulse\"",
            "attempt=1/1",
            "end=\"exit code 0\"",
        ]);
        assert!(line.contains("took_ms=") && line.contains("late_ms="), "{line}");
    }
    let log = server.end();
    assert!(log.contains("name=\"first\""), "{log}");
    let before = lines_in(&folder.path().join("pulse"));
    assert!(before >= 2);

    // The schedule goes on; the one-off job was done.
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"pulse\""]);
    let log = server.end();
    assert!(!log.contains("name=\"first\""), "{log}");
    assert!(lines_in(&folder.path().join("pulse")) > before);
    assert_eq!(lines_in(&folder.path().join("first")), 1);

    // What is no longer configured is removed.
    write(folder.path(), "t.toml", "");
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["schedule removed", "name=\"first\""]);
    server.expect(&["schedule removed", "name=\"pulse\""]);
    server.expect(&["serving", "entries=0"]);
    server.end();
}

#[test]
fn what_is_no_longer_configured_does_not_catch_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[schedule]]\nname = \"old\"\nevery = \"100ms\"\ncommand = [\"true\"]\n\
                  missed = { all = { limit = 100, window = \"1h\" } }\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"old\""]);
    server.end();
    // Thirty fire times pass without the server.
    thread::sleep(Duration::from_secs(3));
    let config = "[[schedule]]\nname = \"new\"\nevery = \"100ms\"\ncommand = [\"true\"]\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"new\""]);
    let log = server.end();
    // The first server may have left some that were due: one, or those of a second if its executors
    // were held up.
    assert!(log.matches("not run").count() <= 15, "{log}");
}

#[test]
fn a_server_whose_log_lines_cannot_be_written_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[schedule]]\nname = \"pulse\"\nevery = \"100ms\"\nshell = true\n\
                  command = \"echo x >> pulse; exit 1\"\n[engine]\nexecutors = 1\n";
    write(folder.path(), "t.toml", config);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tickwheel"))
        .args(["serve", "--config", "t.toml"])
        .current_dir(folder.path())
        .env_remove("TICKWHEEL_DATA_DIR")
        .stdin(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    // More than one run: a failed write must not have taken the only executor along.
    let start = Instant::now();
    while lines_in(&folder.path().join("pulse")) < 5 {
        if start.elapsed() > AMPLE || child.try_wait().unwrap().is_some() {
            let _ = child.kill();
            panic!("it does not go on: {:?}", child.wait());
        }
        thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn failures_are_logged_with_their_output_tried_again_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[job]]\nname = \"bad\"\nshell = true\ncommand = \"echo to out; echo to err >&2; exit 7\"\n\
                  retries = 1\nbackoff = \"20ms\"\nbackoff_max = \"20ms\"\n\
                  [[job]]\nname = \"missing\"\ncommand = [\"/no/such/program\"]\nretries = 5\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect_all(&[&["given up", "name=\"bad\""], &["given up", "name=\"missing\""]]);
    let log = server.end();
    for part in [
        "attempt=1/2 end=\"exit code 7\"",
        "attempt=2/2 end=\"exit code 7\"",
        "    | to out",
        "    | to err",
        "will be tried again",
        "exit code 7: to err",
    ] {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
    assert!(log.contains("attempt=1/6") && !log.contains("attempt=2/6"), "{log}");
}

#[test]
fn a_crontab_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let crontab = format!(
        "HOME={home}\nGREETING=hello\n@reboot cat > out; echo \"$GREETING $PWD ${{CARGO_HOME-unset}}\" >> out%from\\%%input\n\
         0 0 1 1 * never\n"
    );
    write(folder.path(), "tab", &crontab);
    let mut server = Server::start(folder.path(), &["--crontab", "tab"]);
    let line = server.expect(&["run succeeded", "name=\"crontab:tab:"]);
    assert!(line.contains("attempt=1/1"), "{line}");
    server.end();
    let home = fs::canonicalize(home).unwrap();
    let expected = format!("from%\ninput\nhello {} unset\n", home.display());
    assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), expected);

    // @reboot is once per start, not once for ever.
    let mut server = Server::start(folder.path(), &["--crontab", "tab"]);
    server.expect(&["run succeeded", "name=\"crontab:tab:"]);
    server.end();
}

#[test]
fn a_second_server_on_the_same_data_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "t.toml",
        "[[schedule]]\nname = \"a\"\nevery = \"1d\"\ncommand = [\"a\"]\n",
    );
    let mut first = Server::start(folder.path(), &["--config", "t.toml"]);
    first.expect(&["serving"]);
    let mut second = Server::start(folder.path(), &["--config", "t.toml"]);
    assert_eq!(second.wait().code(), Some(1), "{}", second.log);
    let holder = first.child.id().to_string();
    assert!(second.log.contains(&holder), "{holder} is not in {}", second.log);
    first.end();
}

#[test]
fn a_second_demonstration_is_told_who_runs_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwheel"));
    command.args(["demo", "--jobs", "100", "--seconds", "1", "--data-dir"]).arg(&data);
    let mut first = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the schedules go on")));
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);

    let second = command.arg("--exit").output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("held by process {}", first.id())), "{text}");
    assert!(data.join("demo/SHARDS").exists(), "the files of the first are there");

    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(command.output().unwrap().status.code(), Some(0), "the lock is free again");
}

#[test]
fn what_outlives_the_grace_is_ended_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[engine]\nshutdown_grace = \"0s\"\n\
                  [[job]]\nname = \"long\"\nshell = true\nkill_grace = \"100ms\"\n\
                  command = \"trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.1; done\"\n\
                  [[schedule]]\nname = \"look\"\nevery = \"100ms\"\nshell = true\ncommand = \"test -e pid\"\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"look\""]);
    let log = server.end();
    let pid: i32 = fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap();
    assert!(test_kill_process(Pid::from_raw(pid).unwrap()).is_err(), "{pid} still runs\n{log}");
    assert!(log.contains("cancelled, ended by SIGKILL"), "{log}");
}

#[test]
fn a_second_signal_ends_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    // A grace longer than the test may take: only the second signal can end this in time.
    let config = "[engine]\nshutdown_grace = \"1h\"\n\
                  [[job]]\nname = \"long\"\nshell = true\ncommand = \": > up; exec sleep 1000\"\n\
                  [[schedule]]\nname = \"look\"\nevery = \"100ms\"\nshell = true\ncommand = \"test -e up\"\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"look\""]);
    server.signal(Signal::INT);
    // One that comes too soon after the first is taken for the same, so it is sent until heard.
    let start = Instant::now();
    while server.child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < AMPLE, "it does not end");
        server.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.wait().code(), Some(0), "{}", server.log);
    assert!(server.log.contains("a second signal"), "{}", server.log);
    assert!(server.log.contains("cancelled, ended by SIGTERM"), "{}", server.log);
}

#[test]
fn a_killed_server_takes_up_what_it_had_accepted() {
    let folder = tempfile::tempdir().unwrap();
    // The first attempt never ends by itself; the second, after the kill, does.
    let config = "[[job]]\nname = \"twice\"\nshell = true\nretries = 3\nbackoff = \"10ms\"\n\
                  command = \"test -e pid && exit 0; echo $$ > pid; exec sleep 1000\"\n\
                  [[schedule]]\nname = \"look\"\nevery = \"100ms\"\nshell = true\ncommand = \"test -s pid\"\n";
    write(folder.path(), "t.toml", config);
    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"look\""]);
    server.signal(Signal::KILL);
    server.wait();
    let pid: i32 = fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();

    let mut server = Server::start(folder.path(), &["--config", "t.toml"]);
    server.expect(&["run succeeded", "name=\"twice\"", "attempt=2/4"]);
    server.end();
}
