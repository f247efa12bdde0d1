//! Real clients, unchanged, from their registries. Where they cannot be installed the tests say so and
//! pass, unless CI runs them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tickwheel_protocol::{Client, ClientOptions, Password};

use super::server::{Server, Start, folder, tools};

/// The output of a command, or what kept it from running.
fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Skips a test for want of a tool, loudly.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI needs this client: {why}");
    eprintln!("SKIPPED: {why}");
}

/// A Python with this package.
fn python(package: &str) -> Result<PathBuf, String> {
    let home = tools().join(format!("python-{package}"));
    let python = home.join("bin/python");
    let is_there =
        |python: &Path| run(Command::new(python).args(["-c", &format!("import {package}")]));
    if is_there(&python).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]))?;
        is_there(&python)?;
    }
    Ok(python)
}

/// Pushes seven jobs, one of which fails once, works them off, and ends once all are acknowledged. Its
/// jobs run in processes of their own, so they tell of themselves in a file. It ends at once, as the
/// library's own end waits for its next sign of life.
const PYFAKTORY: &str = r#"
import os, sys, threading, time
from pyfaktory import Client, Consumer, Job, Producer

url, done = sys.argv[1], sys.argv[2]

def adder(x, y):
    if x == 3 and not os.path.exists(done + ".failed"):
        open(done + ".failed", "w").close()
        raise ValueError("once")
    with open(done, "a") as file:
        file.write(f"{x + y}\n")

def watch():
    while not os.path.exists(done) or len(open(done).readlines()) < 7 or consumer.pending_tasks_count > 0:
        time.sleep(0.02)
    os._exit(0)

if __name__ == "__main__":
    with Client(faktory_url=url, role="producer") as client:
        producer = Producer(client=client)
        for number in range(5):
            producer.push(Job(jobtype="adder", args=(number, 4), queue="default"))
        refused = producer.push_bulk([Job(jobtype="adder", args=(number, 4)) for number in (5, 6)])
        assert not refused, refused
    with Client(faktory_url=url, role="consumer") as client:
        consumer = Consumer(client=client, queues=["default"], concurrency=2)
        consumer.register("adder", adder)
        threading.Thread(target=watch, daemon=True).start()
        consumer.run()
"#;

#[test]
fn pyfaktory_pushes_works_fails_and_ends() {
    let python = match python("pyfaktory") {
        Ok(python) => python,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    let config = "[work]\nbackoff = \"100ms\"\n";
    let start = Start { password: Some("sesame"), config, ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let (script, done) = (folder.path().join("worker.py"), folder.path().join("done"));
    std::fs::write(&script, PYFAKTORY).unwrap();
    let url = format!("tcp://:sesame@{}", server.address);
    let output = Command::new("timeout")
        .args(["60"])
        .args([&python, &script])
        .args([&url, done.to_str().unwrap()])
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&done).unwrap_or_default();
    let mut sums: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    sums.sort_unstable();
    assert_eq!(sums, [4, 5, 6, 7, 8, 9, 10], "{output:?}");
    assert!(folder.path().join("done.failed").exists());
    let password = Some(Password::new("sesame"));
    let options = ClientOptions { password, ..ClientOptions::default() };
    let info = Client::connect(server.address, &options).unwrap().info().unwrap();
    assert!(info.get().contains(r#""working":0"#), "{info}");
    server.end();
}
