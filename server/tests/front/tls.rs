//! Clients that speak TLS, and those that do not.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

use super::{
    clients::{Program, skip},
    server::{AMPLE, Server, Start, folder, jid, jid_of, job},
};

/// Certificate and key of a server on this machine; the client's side of it.
fn certificate(folder: &Path) -> Arc<ClientConfig> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

const CONFIG: &str = "[work]\ntls_cert = \"server.crt\"\ntls_key = \"server.key\"\n";

struct Encrypted(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Encrypted {
    fn connect(server: &Server, config: &Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(AMPLE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self(BufReader::new(StreamOwned::new(tls, socket)))
    }

    fn open(server: &Server, config: &Arc<ClientConfig>) -> Self {
        let mut client = Self::connect(server, config);
        assert_eq!(client.line(), r#"+HI {"v":2,"tw":1}"#);
        assert_eq!(client.ask(r#"HELLO {"v":2}"#), "+OK");
        client
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn reply(&mut self) -> String {
        let line = self.line();
        match line.strip_prefix('$') {
            None | Some("-1") => line,
            Some(len) => {
                let mut bytes = vec![0; len.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).unwrap()
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.reply()
    }
}

#[test]
fn jobs_go_through_tls_many_at_once_and_long_ones() {
    let folder = folder();
    let config = certificate(folder.path());
    let server = Server::with(folder.path(), &Start { config: CONFIG, ..Start::default() });
    let mut client = Encrypted::open(&server, &config);
    // Many records in both directions, and requests that are cut in two by them.
    let count = 3000;
    let pushes: String = (0..count).map(|number| format!("PUSH {}\r\n", job(number, ""))).collect();
    client.send(&pushes);
    for _ in 0..count {
        assert_eq!(client.reply(), "+OK");
    }
    let mut seen = 0;
    while seen < count {
        let jobs = client.ask(r#"FETCHB {"n":256,"wait_ms":0,"queues":["default"]}"#);
        let jobs: Vec<serde_json::Value> = serde_json::from_str(&jobs).unwrap();
        let jids: Vec<&str> = jobs.iter().map(|job| job["jid"].as_str().unwrap()).collect();
        assert_eq!(client.ask(&format!("ACKB {}", serde_json::to_string(&jids).unwrap())), "{}");
        seen += jids.len();
    }
    let long = format!(r#","mine":"{}""#, "x".repeat(900_000));
    assert_eq!(client.ask(&format!("PUSH {}", job(1, &long))), "+OK");
    let fetched = client.ask("FETCH default");
    assert!(fetched.len() > 900_000 && jid_of(fetched.as_bytes()) == jid(1));
    client.send("END\r\n");
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the server says farewell and closes");
    server.end();
}

#[test]
fn a_client_without_tls_or_with_nonsense_is_cut_and_others_go_on() {
    let folder = folder();
    let config = certificate(folder.path());
    let server = Server::with(folder.path(), &Start { config: CONFIG, ..Start::default() });
    let mut good = Encrypted::open(&server, &config);
    for nonsense in
        ["HELLO {\"v\":2}\r\n".to_owned(), "\u{16}\u{3}\u{1}".repeat(500), "x".repeat(70_000)]
    {
        let mut plain = server.raw();
        // It may be cut before all of it is sent.
        let _ = plain.stream().write_all(nonsense.as_bytes());
        assert!(!plain.rest_bytes().starts_with(b"+HI"), "nothing is said in the clear");
    }
    // One that begins a handshake and does not go on is cut at its deadline.
    let silent = server.raw();
    assert!(!{ silent }.rest_bytes().starts_with(b"+HI"));
    assert!(good.ask("INFO").contains("faktory"));
    // A client that does not know the certificate does not talk.
    let other = tempfile::tempdir().unwrap();
    let stranger = certificate(other.path());
    let socket = TcpStream::connect(server.address).unwrap();
    let tls = ClientConnection::new(stranger, "localhost".try_into().unwrap()).unwrap();
    assert!(StreamOwned::new(tls, socket).read(&mut [0; 16]).is_err());
    server.end();
}

#[test]
fn certificate_and_key_that_do_not_fit_are_refused_and_never_shown() {
    let folder = folder();
    certificate(folder.path());
    let key = std::fs::read_to_string(folder.path().join("server.key")).unwrap();
    let check = |config: &str| {
        std::fs::write(folder.path().join("t.toml"), config).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tickwheel"))
            .args(["serve", "--check", "--config", "t.toml"])
            .current_dir(folder.path())
            .env_remove("TICKWHEEL_PASSWORD")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(key.lines().nth(1).unwrap()), "{text}");
        (output.status.success(), text)
    };
    let listen = "[work]\nlisten = \"127.0.0.1:0\"\n";
    let (is_right, text) = check(&format!("{listen}{}", &CONFIG["[work]\n".len()..]));
    assert!(is_right, "{text}");
    let (is_right, text) = check(&format!("{listen}tls_cert = \"server.crt\"\n"));
    assert!(!is_right && text.contains("belong together"), "{text}");
    let wrong = format!("{listen}tls_cert = \"server.key\"\ntls_key = \"server.key\"\n");
    let (is_right, text) = check(&wrong);
    assert!(!is_right && text.contains("server.key"), "{text}");
    std::fs::write(folder.path().join("broken"), key.replace("PRIVATE", "PRIVAT")).unwrap();
    let wrong = format!("{listen}tls_cert = \"server.crt\"\ntls_key = \"broken\"\n");
    let (is_right, text) = check(&wrong);
    assert!(!is_right && text.contains("broken"), "{text}");
}

#[test]
fn faktory_of_rust_speaks_tls() {
    let program = match Program::rust() {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    certificate(folder.path());
    let start = Start { config: CONFIG, password: Some("sesame"), ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let url = format!("tcp+tls://:sesame@{}", server.address);
    let pushed = folder.path().join("pushed");
    let mut push = program.command(&["push", &url, pushed.to_str().unwrap(), "0", "5", "0", "no"]);
    push.env("SSL_CERT_FILE", folder.path().join("server.crt"));
    // Without an answer it tries again, without an end.
    let mut child = push.spawn().unwrap();
    let deadline = std::time::Instant::now() + AMPLE;
    while std::fs::read_to_string(&pushed).unwrap_or_default().lines().count() < 5 {
        assert!(std::time::Instant::now() < deadline, "nothing was pushed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    server.end();
}
