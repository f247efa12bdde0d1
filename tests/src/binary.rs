//! The binaries, built by the cargo that runs the tests, in their profile, and their processes, which
//! never outlive their test.
//!
//! It must not know what they do. A path such as `target/debug` is not guessed: cargo says
//! where the file is.

use std::{
    env, io,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    sync::OnceLock,
};

use serde_json::Value;

/// The path of the server's binary, which is built first if it has to be.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn tickwheel() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("tickwheel")).clone()
}

/// The path of the load generator's binary, which is built first if it has to be.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn loadgen() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("tickwheel-loadgen")).clone()
}

/// A process that is killed when this is dropped, also by a test that panics.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system refuses.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Ends it with `kill -9`, by its own id: until it is waited for here, no other process has
    /// that id. One that has ended already is left as it is.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that cannot be killed is no reason to hide why the test ends.
        let _ = self.kill();
    }
}

fn build(binary: &str) -> PathBuf {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    // With the features that the tests themselves are built with, or half of all would be built twice: a
    // test makes cargo count the dependencies of tests, and the smallest costs least.
    build.args(["build", "--workspace", "--bin", binary, "--test", "borders"]);
    build.arg("--message-format=json");
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output = match build.current_dir(env!("CARGO_MANIFEST_DIR")).output() {
        Ok(output) => output,
        Err(error) => panic!("cargo cannot be run: {error}"),
    };
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables = messages.filter_map(|message| {
        let is_it = message["target"]["name"] == binary && message["target"]["kind"][0] == "bin";
        let path = message["executable"].as_str().filter(|_| is_it)?;
        Some(PathBuf::from(path))
    });
    // A failed build has none.
    match executables.next() {
        Some(path) if output.status.success() => path,
        _ => panic!("the binary does not build:\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}
