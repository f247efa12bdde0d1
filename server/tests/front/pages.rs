//! The programs of `docs/workers/`, run as they stand there.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    clients::{node, python, rust, skip},
    server::{Server, Start, folder},
};

/// The first block of code in this language of a page.
fn code(page: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workers").join(page);
    let text = fs::read_to_string(path).unwrap();
    let block = text.split(&format!("```{language}\n")).nth(1).expect(page);
    block.split("```").next().unwrap().to_owned()
}

/// Runs a program beside a server until it prints `expected`.
fn check(mut program: Command, folder: &Path, expected: &str) {
    let server = Server::with(folder, &Start { password: Some("sesame"), ..Start::default() });
    program.env("FAKTORY_URL", format!("tcp://:sesame@{}", server.address));
    program.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // It works until it is ended; its own children end when it does.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line.trim_end(), expected);
}

#[test]
fn the_first_worker_in_python_works() {
    let python = match python("pyfaktory") {
        Ok(python) => python,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    fs::write(folder.path().join("worker.py"), code("python.md", "python")).unwrap();
    let mut program = Command::new(python);
    program.arg("worker.py");
    check(program, folder.path(), "9");
}

#[test]
fn the_first_worker_in_node_works() {
    let modules = match node("faktory-worker") {
        Ok(home) => home.join("node_modules"),
        Err(why) => return skip(&why),
    };
    let folder = folder();
    fs::write(folder.path().join("worker.js"), code("node.md", "js")).unwrap();
    let mut program = Command::new("node");
    program.arg("worker.js").env("NODE_PATH", modules);
    check(program, folder.path(), "9");
}

#[test]
fn the_first_worker_in_rust_works() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/rust/src/bin/first.rs");
    assert_eq!(fs::read_to_string(source).unwrap(), code("rust.md", "rust"), "keep both equal");
    let program = match rust() {
        Ok(program) => program.with_file_name("first"),
        Err(why) => return skip(&why),
    };
    check(Command::new(program), folder().path(), "5 and 4");
}
