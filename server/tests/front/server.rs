//! A server as a process, and raw connections to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tickwheel_protocol::{Client, ClientOptions, Identity};

/// Longer than anything here takes, on any machine.
pub(crate) const AMPLE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    lines: Receiver<String>,
}

/// How a server is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    pub(crate) password: Option<&'a str>,
    /// Descriptors at the most.
    pub(crate) descriptors: Option<u32>,
    /// Where it listens, if anybody cares.
    pub(crate) address: Option<SocketAddr>,
    /// Text of the configuration.
    pub(crate) config: &'a str,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::with(folder, &Start::default())
    }

    pub(crate) fn with(folder: &Path, start: &Start<'_>) -> Self {
        let binary = env!("CARGO_BIN_EXE_tickwheel");
        let mut command = match start.descriptors {
            None => Command::new(binary),
            Some(descriptors) => {
                let mut command = Command::new("/bin/sh");
                command.args([
                    "-c",
                    &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""),
                    binary,
                ]);
                command
            }
        };
        let address = start.address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        command.args(["serve", "--listen", &address.to_string()]);
        if !start.config.is_empty() {
            std::fs::write(folder.join("t.toml"), start.config).unwrap();
            command.args(["--config", "t.toml"]);
        }
        command.arg("--data-dir").arg(folder.join("data"));
        command.env_remove("RUST_LOG").env_remove("TICKWHEEL_PASSWORD");
        if let Some(password) = start.password {
            command.env("TICKWHEEL_PASSWORD", password);
        }
        command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Its end is noticed by the pipe's end, not by who listens.
                let _ = sender.send(line);
            }
        });
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), lines };
        let line = server.expect("listening for workers");
        let address = line.split("address=").nth(1).unwrap();
        server.address = address.split_whitespace().next().unwrap().parse().unwrap();
        server
    }

    /// Waits for a log line that holds `part`.
    pub(crate) fn expect(&mut self, part: &str) -> String {
        let deadline = Instant::now() + AMPLE;
        let mut log = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {part:?} in\n{log}") };
            if line.contains(part) {
                return line;
            }
            log.push_str(&line);
            log.push('\n');
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and a good end.
    pub(crate) fn end(mut self) {
        self.signal(Signal::TERM);
        self.wait();
    }

    /// Waits for a good end.
    pub(crate) fn wait(&mut self) {
        let status = self.child.wait().unwrap();
        let log: Vec<String> = self.lines.iter().collect();
        assert_eq!(status.code(), Some(0), "{log:#?}");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Resident memory in KiB that is the process's own: the log's mapped files are not.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn producer(&self) -> Client {
        Client::connect(self.address, &ClientOptions::default()).unwrap()
    }

    pub(crate) fn worker(&self, wid: &str) -> Client {
        let identity = Identity { wid: Some(wid.to_owned().into()), ..Identity::default() };
        Client::connect(self.address, &ClientOptions { identity, ..ClientOptions::default() })
            .unwrap()
    }

    /// A connection that has heard nothing yet.
    pub(crate) fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(AMPLE)).unwrap();
        stream.set_write_timeout(Some(AMPLE)).unwrap();
        Raw(BufReader::new(stream))
    }

    /// A connection after its handshake.
    pub(crate) fn open(&self) -> Raw {
        let mut raw = self.raw();
        assert_eq!(raw.line(), r#"+HI {"v":2,"tw":1}"#);
        assert_eq!(raw.ask(r#"HELLO {"v":2}"#), "+OK");
        raw
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection without a client.
pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// A line of a reply, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "{line:?}");
        line.truncate(line.len() - 2);
        line
    }

    /// The next reply: the text of a bulk string, the whole line of any other.
    pub(crate) fn reply(&mut self) -> String {
        let line = self.line();
        match line.strip_prefix('$') {
            None | Some("-1") => line,
            Some(len) => {
                let mut bytes = vec![0; len.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                assert!(bytes.ends_with(b"\r\n"));
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).unwrap()
            }
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    /// The next job of these queues, whenever it comes: one FETCH gives up after two seconds.
    pub(crate) fn fetch(&mut self, queues: &str) -> String {
        let deadline = Instant::now() + AMPLE;
        loop {
            let reply = self.ask(&format!("FETCH {queues}"));
            if reply != "$-1" {
                return reply;
            }
            assert!(Instant::now() < deadline, "no job of {queues} comes");
        }
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8(self.rest_bytes()).unwrap()
    }

    /// [`Raw::rest`] of a server that need not speak in text.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        rest
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

/// An address of the caller's own, with a port that the system chooses. On one that others use, too,
/// they may be given the port while a server is started again.
pub(crate) fn own_address() -> SocketAddr {
    static DRAWN: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, DRAWN.fetch_add(1, Ordering::Relaxed), high, low], 0))
}

/// A job as JSON.
pub(crate) fn job(number: usize, more: &str) -> String {
    format!(r#"{{"jid":"job-{number:08}","jobtype":"test","args":[{number}]{more}}}"#)
}

pub(crate) fn jid(number: usize) -> String {
    format!("job-{number:08}")
}

/// The jid of a job that was fetched.
pub(crate) fn jid_of(job: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(job).unwrap();
    value["jid"].as_str().unwrap().to_owned()
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A folder for what tests need to be installed.
pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}
