//! Real clients, unchanged, from their registries: the same suite for each. Where one cannot be
//! installed its test says so and passes, unless CI runs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tickwheel_protocol::{Client, ClientOptions, Password};

use super::server::{AMPLE, Server, Start, folder, own_address, tools};

/// The output of a command, or what kept it from running.
fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Skips a test for want of a tool, loudly.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI needs this client: {why}");
    eprintln!("SKIPPED: {why}");
}

/// [`run`] of a command that needs a registry, which may be out of reach for a moment.
fn run_patiently(command: &mut Command) -> Result<Output, String> {
    for pause_s in [2, 10] {
        match run(command) {
            Ok(output) => return Ok(output),
            Err(why) => eprintln!("once more in {pause_s} seconds: {why}"),
        }
        thread::sleep(Duration::from_secs(pause_s));
    }
    run(command)
}

/// What is made of a tool, once in this process: tests that run side by side want the same ones.
fn once(tool: &str, make: impl FnOnce() -> Result<PathBuf, String>) -> Result<PathBuf, String> {
    type Made = Arc<OnceLock<Result<PathBuf, String>>>;
    static ALL: Mutex<BTreeMap<String, Made>> = Mutex::new(BTreeMap::new());
    let made = Arc::clone(ALL.lock().unwrap().entry(tool.to_owned()).or_default());
    made.get_or_init(make).clone()
}

/// Puts what `install` fills a folder with into its place at one go: what is there is whole.
fn put(home: &Path, install: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let draft = tempfile::tempdir_in(tools()).map_err(|error| error.to_string())?;
    install(draft.path())?;
    if home.exists() {
        fs::remove_dir_all(home).map_err(|error| error.to_string())?;
    }
    fs::rename(draft.keep(), home).map_err(|error| error.to_string())
}

/// The version of a package that these tests are known to pass with.
fn version(package: &str) -> &'static str {
    match package {
        "pyfaktory" => "0.2.13",
        "faktory" => "1.0.0",
        "faktory-worker" => "4.7.1",
        other => panic!("no version of {other} is known"),
    }
}

/// A Python with this package.
pub(crate) fn python(package: &str) -> Result<PathBuf, String> {
    let name = format!("python-{package}-{}", version(package));
    once(&name, || {
        let home = tools().join(&name);
        let is_there = |home: &Path| {
            let mut import = Command::new(home.join("bin/python"));
            // A folder of the tests may hold a script with the package's name.
            run(import.args(["-c", &format!("import {package}")]).current_dir("/"))
        };
        if is_there(&home).is_err() {
            put(&home, |home| {
                run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
                let mut install = Command::new(home.join("bin/python"));
                install.args(["-m", "pip", "install", "--quiet"]);
                run_patiently(install.arg(format!("{package}=={}", version(package))))?;
                Ok(())
            })?;
            is_there(&home)?;
        }
        Ok(home.join("bin/python"))
    })
}

/// A folder with this package of Node's registry.
pub(crate) fn node(package: &str) -> Result<PathBuf, String> {
    let name = format!("node-{package}-{}", version(package));
    once(&name, || {
        let home = tools().join(&name);
        if !home.join("node_modules").join(package).exists() {
            put(&home, |home| {
                let manifest = home.join("package.json");
                fs::write(manifest, "{\"private\":true}").map_err(|error| error.to_string())?;
                let mut install = Command::new("npm");
                install.args(["install", "--silent"]).current_dir(home);
                run_patiently(install.arg(format!("{package}@{}", version(package))))?;
                Ok(())
            })?;
        }
        run(Command::new("node").arg("--version"))?;
        Ok(home)
    })
}

/// The program on the crate `faktory`.
pub(crate) fn rust() -> Result<PathBuf, String> {
    once("faktory-crate", || {
        let target = tools().join("faktory-crate");
        let manifest = scripts().join("rust/Cargo.toml");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
        run_patiently(build.arg("--target-dir").arg(&target))?;
        Ok(target.join("debug/tickwheel-test-client"))
    })
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// How a client's program is started: the words before its arguments, and where modules are found.
pub(crate) struct Program {
    words: Vec<PathBuf>,
    modules: Option<PathBuf>,
}

impl Program {
    pub(crate) fn python(package: &str) -> Result<Self, String> {
        let script = scripts().join(format!("{package}.py"));
        Ok(Self { words: vec![python(package)?, script], modules: None })
    }

    pub(crate) fn node(package: &str) -> Result<Self, String> {
        let modules = node(package)?.join("node_modules");
        let script = scripts().join(format!("{package}.js"));
        Ok(Self { words: vec!["node".into(), script], modules: Some(modules) })
    }

    pub(crate) fn rust() -> Result<Self, String> {
        Ok(Self { words: vec![rust()?], modules: None })
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(args).stdin(Stdio::null());
        if let Some(modules) = &self.modules {
            command.env("NODE_PATH", modules);
        }
        command
    }
}

/// The numbers in a ledger, each once.
fn ledger(path: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // Without its end a line is still being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    // Interpreters start slowly on a busy machine.
    let deadline = Instant::now() + 4 * AMPLE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A worker's process, started again as often as it ends, as a process manager does.
struct Worker<'p> {
    program: &'p Program,
    args: Vec<String>,
    child: Child,
}

impl<'p> Worker<'p> {
    fn start(program: &'p Program, url: &str, done: &Path) -> Self {
        let args: Vec<String> =
            ["worker", url, done.to_str().unwrap()].into_iter().map(str::to_owned).collect();
        let child = Self::spawn(program, &args);
        Self { program, args, child }
    }

    fn spawn(program: &Program, args: &[String]) -> Child {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        program.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn keep(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = Self::spawn(self.program, &self.args);
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PASSWORD: &str = "sesame";
const CONFIG: &str = "[work]\nbackoff = \"100ms\"\n";

fn start(folder: &Path, address: SocketAddr) -> Server {
    let (password, address) = (Some(PASSWORD), Some(address));
    Server::with(folder, &Start { password, config: CONFIG, address, ..Start::default() })
}

fn connect(server: &Server) -> Client {
    let password = Some(Password::new(PASSWORD));
    Client::connect(server.address, &ClientOptions { password, ..ClientOptions::default() })
        .unwrap()
}

fn call(client: &mut Client, verb: &str, args: &str) -> Value {
    let answer = client.call(verb, args.as_bytes()).unwrap().unwrap();
    serde_json::from_slice(&answer).unwrap_or(Value::Null)
}

/// How often a server is killed: so often, or as `TICKWHEEL_KILL_ROUNDS` says.
pub(crate) fn rounds(unasked: u64) -> u64 {
    std::env::var("TICKWHEEL_KILL_ROUNDS").map_or(unasked, |rounds| rounds.parse().unwrap())
}

/// What every client has to be able to do.
fn suite(program: Result<Program, String>) {
    let program = match program {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    let mut server = start(folder.path(), own_address());
    let address = server.address;
    let url = format!("tcp://:{PASSWORD}@{address}");
    let (done, pushed) = (folder.path().join("done"), folder.path().join("pushed"));
    let push = |first: u64, count: u64, delay_ms: u64, fail: &str| {
        let numbers = [first, count, delay_ms].map(|number| number.to_string());
        let [first, count, delay_ms] = numbers.each_ref().map(String::as_str);
        program.command(&["push", &url, pushed.to_str().unwrap(), first, count, delay_ms, fail])
    };

    // Pushed and worked off; some later, some after a failure.
    let began = Instant::now();
    run(&mut push(0, 10, 0, "no")).unwrap();
    run(&mut push(10, 3, 0, "fail")).unwrap();
    run(&mut push(13, 3, 700, "no")).unwrap();
    let pushed_at = Instant::now();
    let mut worker = Worker::start(&program, &url, &done);
    await_that("what was pushed is done", || {
        worker.keep();
        ledger(&done).len() == 16
    });
    assert!(began.elapsed() > Duration::from_millis(700), "pushed at {pushed_at:?}");
    for number in 10..13 {
        assert!(folder.path().join(format!("done.failed-{number}")).exists(), "{number}");
    }
    let mut client = connect(&server);
    await_that("all is acknowledged", || {
        call(&mut client, "INFO", "")["faktory"]["sets"]["working"] == 0
    });
    let info = call(&mut client, "INFO", "");
    assert_eq!(info["faktory"]["total_failures"], 3, "{info}");
    // An end counts for the worker once its answer is on its way.
    await_that("the worker has none", || call(&mut client, "WORKER", "LIST")[0]["jobs"] == 0);
    let listed = call(&mut client, "WORKER", "LIST");
    assert!(listed[0]["labels"][0].is_string() && listed[0]["pid"] != 0, "{listed}");

    // The server is killed while a producer pushes and a worker works: nothing that was taken is lost.
    let rounds = rounds(2);
    let count = 100 * (rounds + 1);
    let mut producer = push(100, count, 0, "no").stdout(Stdio::null()).spawn().unwrap();
    for stop in (1..=rounds).map(|round| 100 + 100 * round) {
        await_that("the producer goes on", || {
            worker.keep();
            ledger(&pushed).contains(&stop)
        });
        server.kill();
        server = start(folder.path(), address);
    }
    await_that("the producer ends", || {
        worker.keep();
        producer.try_wait().unwrap().is_some()
    });
    assert!(producer.wait().unwrap().success());
    let taken = ledger(&pushed);
    assert_eq!(taken.len() as u64, 16 + count);
    // What the worker had when the server was killed stays its own until its lease ends; its library
    // may not tell the end of it to the next server.
    let mut client = connect(&server);
    await_that("all is done or leased", || {
        worker.keep();
        let leased = call(&mut client, "INFO", "")["faktory"]["sets"]["working"].as_u64().unwrap();
        let missing = taken.difference(&ledger(&done)).count() as u64;
        missing <= leased && call(&mut client, "INFO", "")["faktory"]["total_enqueued"] == 0
    });

    // Quiet: once it has heard so, it fetches no more.
    client.call("WORKER", b"QUIET *").unwrap();
    let queued = |client: &mut Client| {
        call(client, "INFO", "")["faktory"]["queues"]["default"].as_u64().unwrap_or(0)
    };
    let mut probes = 1_000_000..;
    await_that("the worker is quiet", || {
        run(&mut push(probes.next().unwrap(), 1, 0, "no")).unwrap();
        let until = Instant::now() + QUIET;
        while queued(&mut client) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        queued(&mut client) > 0
    });
    run(&mut push(2_000_000, 20, 0, "no")).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(queued(&mut client), 21);
    // Terminate: it ends by itself.
    client.call("WORKER", b"TERMINATE *").unwrap();
    await_that("the worker ends", || worker.child.try_wait().unwrap().is_some());
    server.end();
}

/// A worker that leaves a job for so long fetches no more.
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn pyfaktory_does_all_that_a_client_has_to() {
    suite(Program::python("pyfaktory"));
}

#[test]
fn faktory_of_python_does_all_that_a_client_has_to() {
    suite(Program::python("faktory"));
}

#[test]
fn faktory_worker_of_node_does_all_that_a_client_has_to() {
    suite(Program::node("faktory-worker"));
}

#[test]
fn faktory_of_rust_does_all_that_a_client_has_to() {
    suite(Program::rust());
}

#[test]
fn faktory_of_rust_follows_a_jobs_progress() {
    let program = match Program::rust() {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    let server = start(folder.path(), own_address());
    let url = format!("tcp://:{PASSWORD}@{}", server.address);
    let done = folder.path().join("done");
    let output = run(&mut program.command(&["progress", &url, done.to_str().unwrap()])).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Enqueued Success\n");
    let seen = fs::read_to_string(folder.path().join("done.seen")).unwrap();
    assert_eq!(seen, "Some(40) Some(\"half\")");
    server.end();
}
