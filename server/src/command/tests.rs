//! Real processes: every way in which a run can end, and what is left of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use super::*;

/// Longer than any of these runs takes, on any machine.
const AMPLE: Duration = Duration::from_secs(60);

fn shell(line: &str) -> Spec {
    Spec {
        name: "test".to_owned(),
        program: Program::Shell { shell: "/bin/sh".to_owned(), line: line.to_owned() },
        dir: None,
        dir_optional: false,
        inherit_env: true,
        env: BTreeMap::new(),
        stdin: None,
        run_as: None,
        timeout_ms: 60_000,
        kill_grace_ms: 10_000,
        output_limit_bytes: 64 * 1024,
        log_output: LogOutput::OnFailure,
    }
}

fn argv(argv: &[&str]) -> Spec {
    let program = Program::Argv(argv.iter().map(|argument| (*argument).to_owned()).collect());
    Spec { program, ..shell("") }
}

fn run_through(spec: &Spec) -> Outcome {
    run(spec, &|| false)
}

/// Time-outs for commands that must have come somewhere before: the next is for a machine on which the
/// one before was over too soon.
const TIMEOUTS_MS: [u64; 3] = [500, 5_000, 50_000];

/// The outcome of the first of [`TIMEOUTS_MS`] that the command came far enough in.
fn time_out(spec: &Spec, came_far_enough: impl Fn(&Outcome) -> bool) -> Outcome {
    let mut outcomes = Vec::new();
    for timeout_ms in TIMEOUTS_MS {
        let outcome = run_through(&Spec { timeout_ms, ..spec.clone() });
        let after = Duration::from_millis(timeout_ms);
        assert!(
            matches!(outcome.end, End::TimedOut { after: told, .. } if told == after),
            "{:?}",
            outcome.end
        );
        assert!(outcome.elapsed >= after, "{outcome:?}");
        if came_far_enough(&outcome) {
            return outcome;
        }
        outcomes.push(outcome);
    }
    panic!("it never comes far enough: {outcomes:?}");
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8(outcome.output.to_vec()).unwrap()
}

/// Waits until a process is gone or a zombie of a parent that does not collect it.
fn assert_ends(pid: i32) {
    let start = Instant::now();
    while lives(pid) {
        assert!(start.elapsed() < AMPLE, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok() && state != Some(Some('Z'))
}

/// The number that a command wrote to a file, once it did.
fn pid_in(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim_end_matches('\n').parse().ok()
}

#[test]
fn exit_codes_and_their_failures() {
    assert!(matches!(run_through(&argv(&["true"])).end, End::Exited(0)));
    assert_eq!(run_through(&argv(&["true"])).failure(), None);
    let failed = run_through(&shell("echo first; echo last >&2; exit 3"));
    let message = "exit code 3: last".to_owned();
    assert_eq!(failed.failure(), Some(Failure { message, retryable: true }));
    assert_eq!(text(&failed), "first\nlast\n", "both outputs, in the order written");
    let signalled = run_through(&shell("kill -9 $$"));
    assert_eq!(signalled.failure().unwrap().message, "ended by signal 9");
}

#[test]
fn commands_that_cannot_start_are_not_tried_again() {
    let missing = run_through(&argv(&["/no/such/program"])).failure().unwrap();
    assert!(!missing.retryable);
    assert!(missing.message.contains("/no/such/program"), "{}", missing.message);
    let not_executable = run_through(&argv(&["/etc/passwd"])).failure().unwrap();
    assert!(!not_executable.retryable);
    let folder = run_through(&Spec { dir: Some("/no/such/folder".to_owned()), ..shell("true") });
    let folder = folder.failure().unwrap();
    assert!(folder.message.contains("working directory /no/such/folder"), "{}", folder.message);
    let optional =
        Spec { dir: Some("/no/such/folder".to_owned()), dir_optional: true, ..shell("pwd") };
    assert_eq!(text(&run_through(&optional)), "/\n");
    assert!(!run_through(&argv(&[])).failure().unwrap().retryable);
}

#[test]
fn folder_environment_and_input_reach_the_command() {
    let env = BTreeMap::from([("TICK".to_owned(), "wheel $HOME".to_owned())]);
    let spec = Spec {
        dir: Some("/".to_owned()),
        env: env.clone(),
        stdin: Some("one\ntwo\n".to_owned()),
        ..shell("pwd; echo \"$TICK\"; cat")
    };
    assert_eq!(text(&run_through(&spec)), "/\nwheel $HOME\none\ntwo\n");
    // A variable of the server is passed on only where that is asked for.
    let inherited = "echo \"${CARGO_MANIFEST_DIR:-none}\"";
    assert_ne!(text(&run_through(&shell(inherited))), "none\n");
    let alone = Spec { inherit_env: false, env, ..shell(inherited) };
    assert_eq!(text(&run_through(&alone)), "none\n");
    assert_eq!(text(&run_through(&shell("cat; echo end"))), "end\n", "no input is an empty one");
}

#[test]
fn input_larger_than_a_pipe_and_input_that_nobody_reads() {
    let large = "x".repeat(1 << 20);
    let counted = Spec { stdin: Some(large), ..shell("wc -c") };
    assert_eq!(text(&run_through(&counted)).trim(), "1048576");
    let unread = Spec { program: argv(&["true"]).program, ..counted };
    assert_eq!(run_through(&unread).failure(), None);
}

#[test]
fn only_the_last_bytes_of_the_output_are_kept() {
    let spec =
        Spec { output_limit_bytes: 7, ..shell("head -c 3000000 /dev/zero; echo; echo last") };
    let outcome = run_through(&spec);
    assert_eq!(outcome.output.to_vec(), b"0\nlast\n".map(|b| if b == b'0' { 0 } else { b }));
    assert_eq!(outcome.output.dropped_bytes(), 3_000_006 - 7);
}

#[test]
fn a_timeout_ends_the_whole_group_even_what_ignores_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // The grandchild ignores SIGTERM, as its child `sleep` does by inheritance.
    let line = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {0}.new; mv {0}.new {0}; sleep 1000' & wait",
        file.display()
    );
    let spec = Spec { kill_grace_ms: 300, ..shell(&line) };
    let outcome = time_out(&spec, |_| file.exists());
    let End::TimedOut { after, stop: Stop::Killed } = outcome.end else {
        panic!("{:?}", outcome.end)
    };
    let failure = outcome.failure().unwrap();
    assert_eq!(failure.message, format!("timed out after {after:?}, ended by SIGKILL"));
    assert!(failure.retryable);
    assert!(outcome.elapsed >= after + Duration::from_millis(300), "the grace was given");
    assert_ends(pid_in(&file).unwrap());
}

#[test]
fn a_command_that_obeys_is_not_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let line = format!(
        "trap 'echo bye; exit 0' TERM; : > {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let outcome = time_out(&shell(&line), |_| ready.exists());
    assert!(
        matches!(outcome.end, End::TimedOut { stop: Stop::Terminated, .. }),
        "{:?}",
        outcome.end
    );
    assert!(text(&outcome).ends_with("bye\n"), "what it wrote on the way out is kept");
}

#[test]
fn members_may_use_the_grace_after_their_leader_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, done) = (folder.path().join("ready"), folder.path().join("done"));
    let line = format!(
        "sh -c 'trap \"sleep 0.3; echo ok > {}; exit 0\" TERM; : > {}; while :; do sleep 0.05; done' & wait",
        done.display(),
        ready.display()
    );
    let outcome = run(&shell(&line), &|| ready.exists());
    assert!(matches!(outcome.end, End::Cancelled { stop: Stop::Terminated }), "{:?}", outcome.end);
    assert_eq!(fs::read_to_string(done).unwrap(), "ok\n");
}

#[test]
fn a_cancelled_command_is_ended() {
    let asked = Cell::new(0);
    let outcome = run(&shell("exec sleep 1000"), &|| {
        asked.set(asked.get() + 1);
        asked.get() > 2
    });
    assert_eq!(outcome.failure().unwrap().message, "cancelled, ended by SIGTERM");
    assert_eq!(asked.get(), 3, "not asked again once it said yes");
}

#[test]
fn a_process_left_behind_does_not_hold_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("pid");
    // It holds the pipe open for longer than any test may take.
    let line = format!("sleep 1000 & echo $! > {}; echo done", file.display());
    let outcome = run_through(&shell(&line));
    assert_eq!(text(&outcome), "done\n");
    assert!(outcome.failure().is_none());
    assert!(outcome.elapsed < AMPLE);
    let pid = pid_in(&file).unwrap();
    assert!(lives(pid), "a run that ended well leaves the rest alone");
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn a_command_that_never_stops_writing_still_times_out() {
    let spec = Spec { output_limit_bytes: 2, ..shell("yes") };
    let outcome = time_out(&spec, |outcome| !outcome.output.is_empty());
    assert_eq!(outcome.output.to_vec().len(), 2);
}

#[test]
fn another_user_needs_root_and_gets_no_groups_of_it() {
    let run_as = Some(RunAs { name: "nobody".to_owned(), uid: 65534, gid: 65534 });
    let outcome = run_through(&Spec { run_as, dir: Some("/".to_owned()), ..shell("id -u; id -G") });
    if rustix::process::geteuid().is_root() {
        assert_eq!(text(&outcome), "65534\n65534\n");
    } else {
        assert!(!outcome.failure().unwrap().retryable);
    }
}

#[test]
fn payloads_come_back_as_they_went() {
    let spec = Spec {
        dir: Some("/tmp".to_owned()),
        env: BTreeMap::from([("A".to_owned(), "ä\n\"".to_owned())]),
        stdin: Some(String::new()),
        run_as: Some(RunAs { name: "www".to_owned(), uid: 33, gid: 33 }),
        log_output: LogOutput::Always,
        ..argv(&["a", ""])
    };
    assert_eq!(Spec::from_payload(&spec.to_payload()).unwrap(), spec);
}

#[test]
fn the_payload_of_the_first_version_stays_readable() {
    let payload =
        br#"{"v":1,"command":{"name":"n","program":{"shell":{"shell":"/bin/sh","line":"true"}},
        "inherit_env":true,"timeout_ms":60000,"kill_grace_ms":10000,"output_limit_bytes":65536}}"#;
    assert_eq!(
        Spec::from_payload(payload).unwrap(),
        Spec { name: "n".to_owned(), ..shell("true") }
    );
}

#[test]
fn foreign_and_later_payloads_are_told_apart() {
    assert!(matches!(Spec::from_payload(b"{}"), Err(PayloadError::Malformed(_))));
    assert!(matches!(Spec::from_payload(b"\xff"), Err(PayloadError::Malformed(_))));
    let later = Spec::from_payload(br#"{"v":2,"anything":[]}"#);
    assert!(matches!(later, Err(PayloadError::NewerVersion { found: 2 })));
    let unknown = br#"{"v":1,"command":{"name":"n","program":{"argv":["a"]},"inherit_env":true,
        "timeout_ms":1,"kill_grace_ms":1,"output_limit_bytes":1,"nice":5}}"#;
    assert!(matches!(Spec::from_payload(unknown), Err(PayloadError::Malformed(_))));
}
