//! `[work]`: whether and how workers in any language are served.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tickwheel_engine::worker::{Promise, WorkerChoice};
use toml::de::{DeTable, DeValue};

use super::limits;
use super::reader::{self, Report, Section};
use super::settings::duration_in;
use super::value::{self, ValueError, rule};

/// The environment variable that holds the password, over what the file says.
pub const PASSWORD_VARIABLE: &str = "TICKWHEEL_PASSWORD";

/// How workers are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Where the server listens. `None` leaves it to the command line.
    pub listen: Option<SocketAddr>,
    /// What clients have to know. `TICKWHEEL_PASSWORD` goes before it.
    pub password: Option<Secret>,
    /// Files with the certificates and the key of TLS, in PEM form. Relative paths start from the file's
    /// folder. Default none.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Wait after the first failure and the longest wait, of jobs that were pushed; `None` is the work
    /// protocol's own rule.
    pub backoff: Option<(Duration, Duration)>,
    /// When the ends of jobs are answered. Default `durable`.
    pub ends: Promise,
    /// Which of the workers that wait gets the next job. Default `longest-waiting`.
    pub choice: WorkerChoice,
    /// From the first byte of a request to its last. Default 30 s, 100 ms to 1 h.
    pub request_timeout: Duration,
    /// Whether clients may delete everything by `FLUSH`. Default no.
    pub allow_flush: bool,
    /// I/O threads. Default 1, 1 to 16.
    pub io_threads: usize,
    /// Connections at the most. Default 10,000, 1 to 1,000,000.
    pub connections_max: usize,
    /// Connections from one address at the most. Default 5000, 1 to 1,000,000.
    pub connections_per_address_max: usize,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the text as it is.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn new(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() || text.len() > limits::PASSWORD_BYTES_MAX {
            return Err(rule("a password has 1 to 1024 bytes"));
        }
        Ok(Self(text.into()))
    }

    /// The text, for whoever has to compare it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Default for Work {
    fn default() -> Self {
        Self {
            listen: None,
            password: None,
            tls: None,
            backoff: None,
            ends: Promise::Durable,
            choice: WorkerChoice::default(),
            request_timeout: limits::REQUEST_TIMEOUT_DEFAULT,
            allow_flush: false,
            io_threads: limits::IO_THREADS_DEFAULT,
            connections_max: limits::CONNECTIONS_DEFAULT,
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_DEFAULT,
        }
    }
}

/// Reads `[work]`. What is wrong is reported and left at its default.
pub(super) fn read(table: &DeTable<'_>, offset: usize, report: &mut Report<'_>) -> Work {
    let mut section = Section::new(table, "[work]", offset);
    let unset = Work::default();
    let listen = section.field(report, "listen", r#"listen = "127.0.0.1:7419""#, |value| {
        let text = reader::text(value)?;
        text.parse::<SocketAddr>()
            .map_err(|_| rule(format!("{text:?} is not an IP address with a port")))
    });
    let password = section.field(report, "password", r#"password = "…""#, |value| {
        // What is refused is not shown: it may be the password with a slip.
        Secret::new(reader::text(value)?)
    });
    let folder = report.file().parent().map(PathBuf::from).unwrap_or_default();
    let path = |value: &DeValue<'_>| match reader::text(value)? {
        "" => Err(rule("the path is empty")),
        path => Ok(folder.join(path)),
    };
    let certificate = section.field(report, "tls_cert", r#"tls_cert = "server.crt""#, path);
    let key = section.field(report, "tls_key", r#"tls_key = "server.key""#, path);
    let tls = match (certificate.ok().flatten(), key.ok().flatten()) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (given, _) => {
            let missing = if given.is_some() { "tls_key" } else { "tls_cert" };
            let reason = "certificate and key belong together";
            section.refuse(report, missing, reason, r#"tls_cert = "…", tls_key = "…""#);
            None
        }
    };
    let backoff = section.field(report, "backoff", r#"backoff = "10s""#, |value| {
        duration_in(value, limits::BACKOFF)
    });
    let backoff_max = section.field(report, "backoff_max", r#"backoff_max = "10m""#, |value| {
        duration_in(value, limits::BACKOFF)
    });
    let backoff = match (backoff.ok().flatten(), backoff_max.ok().flatten()) {
        (None, None) => None,
        (base, max) => {
            let base = base.unwrap_or(limits::BACKOFF_DEFAULT);
            Some((base, max.unwrap_or(limits::BACKOFF_MAX_DEFAULT).max(base)))
        }
    };
    let ends =
        section.field(report, "ends", r#"ends = "logged""#, |value| match reader::text(value)? {
            "durable" => Ok(Promise::Durable),
            "logged" => Ok(Promise::Logged),
            other => Err(rule(format!("{other:?} is neither \"durable\" nor \"logged\""))),
        });
    let choice = section.field(report, "choice", r#"choice = "least-loaded""#, |value| {
        let text = reader::text(value)?;
        text.parse::<WorkerChoice>().map_err(|error| rule(format!("{text:?}: {error}")))
    });
    let request = section.field(report, "request_timeout", r#"request_timeout = "30s""#, |value| {
        duration_in(value, limits::REQUEST_TIMEOUT)
    });
    let flush = section.field(report, "allow_flush", "allow_flush = true", reader::boolean);
    let io_threads = section
        .field(report, "io_threads", "io_threads = 1", |value| count(value, limits::IO_THREADS));
    let connections_max =
        section.field(report, "connections_max", "connections_max = 10000", |value| {
            count(value, limits::CONNECTIONS)
        });
    let example = "connections_per_address_max = 5000";
    let per_address = section.field(report, "connections_per_address_max", example, |value| {
        count(value, limits::CONNECTIONS)
    });
    // Whatever it finds is in the report.
    let _ = section.finish(report);
    Work {
        listen: listen.ok().flatten(),
        password: password.ok().flatten(),
        tls,
        backoff,
        ends: ends.ok().flatten().unwrap_or_default(),
        choice: choice.ok().flatten().unwrap_or_default(),
        request_timeout: request.ok().flatten().unwrap_or(unset.request_timeout),
        allow_flush: flush.ok().flatten().unwrap_or_default(),
        io_threads: io_threads.ok().flatten().unwrap_or(unset.io_threads),
        connections_max: connections_max.ok().flatten().unwrap_or(unset.connections_max),
        connections_per_address_max: per_address
            .ok()
            .flatten()
            .unwrap_or(unset.connections_per_address_max),
    }
}

fn count(value: &DeValue<'_>, limits: (u64, u64)) -> Result<usize, ValueError> {
    let count = value::number_within(reader::number(value)?, limits)?;
    usize::try_from(count).map_err(rule)
}
