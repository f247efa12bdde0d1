//! What this program says on standard error. Nothing here fails: where standard error is closed,
//! or its disk full, the words are lost, and the work and the exit code stay what they are.
//!
//! It knows nothing of what is said.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// Logs to standard error, filtered by `RUST_LOG`, else by `default`.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lossy(io::stderr()))
        // It would say on standard error, and insist, that standard error cannot be written.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Writes a line to standard error, if that is possible.
pub(crate) fn complain(line: &str) {
    let _ = Lossy(io::stderr()).write_all(format!("{line}\n").as_bytes());
}

/// A writer that takes everything and drops what cannot be written.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    }

    #[test]
    fn what_cannot_be_written_is_dropped() {
        let mut writer = Lossy(Full);
        assert_eq!(writer.write(b"abc").unwrap(), 3);
        writer.flush().unwrap();
        let mut writer = Lossy(Vec::new());
        writer.write_all(b"abc").unwrap();
        assert_eq!(writer.0, b"abc");
    }
}
