//! What is compared: how each is started in a directory of its own, on the loopback, at which durability, and
//! what goes through its protocol. It ends what it started.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    PeerError,
    client::{Beanstalkd, Redis, Work},
    load::{self, Found, Size},
    options::Options,
    process::{self, Process},
};

/// When what was pushed is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before it is acknowledged.
    Synced,
    /// Some time later: a power cut takes what was acknowledged last.
    Later,
    /// Never: it ends with the process.
    Memory,
}

impl Durability {
    pub(crate) const ALL: [Self; 3] = [Self::Synced, Self::Later, Self::Memory];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Synced => "synced before the answer",
            Self::Later => "synced later",
            Self::Memory => "in memory",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tickwheel,
    Beanstalkd,
    Redis,
    BullMq,
    Graphile,
    DelayQueue,
    Apalis,
    TokioCron,
}

/// A system at a durability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
    /// The setting, in its own words.
    pub(crate) setting: &'static str,
}

const fn system(
    kind: Kind,
    name: &'static str,
    durability: Durability,
    setting: &'static str,
) -> System {
    System { kind, name, durability, setting }
}

/// All of them; the first of a durability is what the others are compared with.
pub(crate) const ALL: [System; 13] = [
    system(Kind::Tickwheel, "Tickwheel", Durability::Synced, "durability = \"sync\""),
    system(Kind::Beanstalkd, "beanstalkd", Durability::Synced, "-b, -f 0"),
    system(Kind::Redis, "Redis lists", Durability::Synced, "appendfsync always"),
    system(Kind::BullMq, "BullMQ", Durability::Synced, "Redis, appendfsync always"),
    system(
        Kind::Graphile,
        "graphile-worker",
        Durability::Synced,
        "PostgreSQL, synchronous_commit on",
    ),
    system(Kind::Tickwheel, "Tickwheel", Durability::Later, "durability = \"interval(50ms)\""),
    system(Kind::Beanstalkd, "beanstalkd", Durability::Later, "-b, -f 50"),
    system(Kind::Redis, "Redis lists", Durability::Later, "appendfsync everysec"),
    system(Kind::BullMq, "BullMQ", Durability::Later, "Redis, appendfsync everysec"),
    system(
        Kind::Graphile,
        "graphile-worker",
        Durability::Later,
        "PostgreSQL, synchronous_commit off",
    ),
    system(
        Kind::DelayQueue,
        "tokio-util DelayQueue",
        Durability::Memory,
        "a library in one process",
    ),
    system(Kind::Apalis, "apalis MemoryStorage", Durability::Memory, "a library in one process"),
    system(Kind::TokioCron, "tokio-cron-scheduler", Durability::Memory, "a library in one process"),
];

impl System {
    /// What is measured, with its version; an error says why it cannot be.
    pub(crate) fn version(&self, options: &Options) -> Result<String, PeerError> {
        let program = |name: &str, argument: &str| {
            process::version(name, argument)
                .ok_or_else(|| PeerError::from(format!("{name} is not installed")))
        };
        let node = |package: &str| -> Result<String, PeerError> {
            let path = options.node.join("node_modules").join(package).join("package.json");
            let text = fs::read_to_string(&path).map_err(|_| {
                format!("{package} is not there: run `npm install` in {}", options.node.display())
            })?;
            let json: serde_json::Value = serde_json::from_str(&text)?;
            Ok(format!("{package} {}", json["version"].as_str().unwrap_or("?")))
        };
        match self.kind {
            Kind::Tickwheel => program(&options.tickwheel.to_string_lossy(), "--version"),
            Kind::Beanstalkd => program("beanstalkd", "-v"),
            Kind::Redis => program("redis-server", "--version").map(redis_version),
            Kind::BullMq => {
                let server = redis_version(program("redis-server", "--version")?);
                Ok(format!("{} on {server}", node("bullmq")?))
            }
            Kind::Graphile => {
                let server = program(&postgres("postgres")?.to_string_lossy(), "--version")?;
                // "postgres (PostgreSQL) 15.1 (…)"
                let number = server.split(' ').nth(2).unwrap_or_default();
                Ok(format!("{} on PostgreSQL {number}", node("graphile-worker")?))
            }
            Kind::DelayQueue | Kind::Apalis | Kind::TokioCron => {
                let text = program(&options.libraries.to_string_lossy(), "--version")?;
                let own = self.library();
                let of_it = text.split(", ").find(|one| one.starts_with(own));
                Ok(of_it.ok_or_else(|| format!("{own} is not built in"))?.to_owned())
            }
        }
    }

    /// One round in a directory of its own.
    pub(crate) fn measure(&self, options: &Options, size: Size) -> Result<Found, PeerError> {
        let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(&options.dir)?;
        let dir = fs::canonicalize(dir.path()).map(|path| (dir, path))?;
        let (_guard, dir) = (dir.0, dir.1);
        let log = dir.join("log");
        let port = process::free_port()?;
        let is_synced = self.durability == Durability::Synced;
        match self.kind {
            Kind::Tickwheel => {
                let mode = if is_synced { "sync" } else { "interval(50ms)" };
                fs::write(dir.join("t.toml"), format!("[engine]\ndurability = \"{mode}\"\n"))?;
                let mut command = Command::new(fs::canonicalize(&options.tickwheel)?);
                command.args(["serve", "--config", "t.toml", "--data-dir", "data"]);
                command.args(["--listen", &format!("127.0.0.1:{port}")]).current_dir(&dir);
                let _server = Process::start(&mut command, &log, port)?;
                load::measure(size, true, |is_worker| Work::connect(port, is_worker))
            }
            Kind::Beanstalkd => {
                let mut command = Command::new("beanstalkd");
                command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-b"]).arg(&dir);
                command.args(["-f", if is_synced { "0" } else { "50" }]);
                let _server = Process::start(&mut command, &log, port)?;
                load::measure(size, true, |_| Beanstalkd::connect(port))
            }
            Kind::Redis => {
                let _server = redis(&dir, &log, port, is_synced)?;
                load::measure(size, false, |_| Redis::connect(port))
            }
            Kind::BullMq => {
                let _server = redis(&dir, &log, port, is_synced)?;
                load::of_program(
                    Command::new("node").arg(options.node.join("bullmq.mjs")).arg(port.to_string()),
                    size,
                )
            }
            Kind::Graphile => {
                let _server = start_postgres(&dir, &log, port, is_synced)?;
                let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
                load::of_program(
                    Command::new("node").arg(options.node.join("graphile.mjs")).arg(url),
                    size,
                )
            }
            Kind::DelayQueue | Kind::Apalis | Kind::TokioCron => {
                load::of_program(Command::new(&options.libraries).arg(self.library()), size)
            }
        }
    }

    fn library(&self) -> &'static str {
        match self.kind {
            Kind::DelayQueue => "tokio-util",
            Kind::Apalis => "apalis",
            _ => "tokio-cron-scheduler",
        }
    }
}

/// Of "Redis server v=7.0.15 sha=…" what matters.
fn redis_version(text: String) -> String {
    let version = text.split("v=").nth(1).and_then(|rest| rest.split(' ').next());
    version.map_or(text.clone(), |version| format!("Redis {version}"))
}

fn redis(dir: &Path, log: &Path, port: u16, is_synced: bool) -> Result<Process, PeerError> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir);
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync"]);
    command.arg(if is_synced { "always" } else { "everysec" });
    Process::start(&mut command, log, port)
}

/// A program of PostgreSQL: Debian keeps them in a folder for each version.
fn postgres(name: &str) -> Result<PathBuf, PeerError> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().ok_or_else(|| "PostgreSQL is not installed".into())
}

fn start_postgres(
    dir: &Path,
    log: &Path,
    port: u16,
    is_synced: bool,
) -> Result<Process, PeerError> {
    // It does not run as root; its package made a user for it.
    let user = user_of_postgres();
    let as_user = |name: &str| -> Result<Command, PeerError> {
        let mut command = Command::new(postgres(name)?);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(dir);
        Ok(command)
    };
    if let Some((uid, gid)) = user {
        chown(dir, Some(uid), Some(gid))?;
    }
    let made = as_user("initdb")?.args(["-D", "data", "-A", "trust", "-U", "postgres"]).output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    let mut command = as_user("postgres")?;
    command.args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.args(["-c", "unix_socket_directories=", "-c"]);
    command.arg(format!("synchronous_commit={}", if is_synced { "on" } else { "off" }));
    Process::start(&mut command, log, port)
}

/// The user `postgres`, if this process is root.
fn user_of_postgres() -> Option<(u32, u32)> {
    let own = fs::read_to_string("/proc/self/status").ok()?;
    let is_root = own.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> =
        users.lines().find(|line| line.starts_with("postgres:"))?.split(':').collect();
    let number = |at: usize| fields.get(at)?.parse().ok();
    if is_root { Some((number(2)?, number(3)?)) } else { None }
}
