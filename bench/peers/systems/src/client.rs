//! Clients of the same kind for each protocol: blocking, one connection, requests written in one piece and
//! answers read in their order. They know bytes on a socket, and measure nothing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::PeerError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fetch waits for a job, in seconds.
const FETCH_WAIT_S: u32 = 1;

/// What the load needs of a protocol.
pub(crate) trait Client: Send {
    /// Writes a push into the buffer.
    fn push(&mut self, number: u32, text: &str, delay_ms: u32) -> Result<(), PeerError>;

    /// Sends what was written.
    fn flush(&mut self) -> Result<(), PeerError>;

    /// Waits until the next push is answered with yes.
    fn take_answer(&mut self) -> Result<(), PeerError>;

    /// Takes a job and says that it is done, once both are answered; `None` if none came in time.
    fn fetch_and_finish(&mut self) -> Result<Option<String>, PeerError>;
}

/// A socket with lines in and a buffer out.
struct Lines {
    input: BufReader<TcpStream>,
    out: Vec<u8>,
    line: String,
}

impl Lines {
    fn open(port: u16) -> Result<Self, PeerError> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { input: BufReader::new(stream), out: Vec::new(), line: String::new() })
    }

    fn flush(&mut self) -> Result<(), PeerError> {
        self.input.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<&str, PeerError> {
        self.line.clear();
        if self.input.read_line(&mut self.line)? == 0 {
            return Err("the connection was closed".into());
        }
        Ok(self.line.trim_end())
    }

    fn expect(&mut self, begin: &str) -> Result<(), PeerError> {
        let line = self.line()?;
        if line.starts_with(begin) { Ok(()) } else { Err(format!("answered {line}").into()) }
    }

    /// So many bytes and the end of their line.
    fn body(&mut self, len: usize) -> Result<String, PeerError> {
        let mut bytes = vec![0; len + 2];
        self.input.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(String::from_utf8(bytes)?)
    }
}

/// beanstalkd: put, reserve, delete.
pub(crate) struct Beanstalkd(Lines);

impl Beanstalkd {
    pub(crate) fn connect(port: u16) -> Result<Self, PeerError> {
        Ok(Self(Lines::open(port)?))
    }
}

impl Client for Beanstalkd {
    fn push(&mut self, _number: u32, text: &str, delay_ms: u32) -> Result<(), PeerError> {
        write!(self.0.out, "put 100 {} 600 {}\r\n{text}\r\n", delay_ms / 1000, text.len())?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PeerError> {
        self.0.flush()
    }

    fn take_answer(&mut self) -> Result<(), PeerError> {
        self.0.expect("INSERTED")
    }

    fn fetch_and_finish(&mut self) -> Result<Option<String>, PeerError> {
        write!(self.0.out, "reserve-with-timeout {FETCH_WAIT_S}\r\n")?;
        self.0.flush()?;
        let line = self.0.line()?.to_owned();
        if line == "TIMED_OUT" {
            return Ok(None);
        }
        let mut words =
            line.strip_prefix("RESERVED ").ok_or(format!("answered {line}"))?.split(' ');
        let (Some(id), Some(len)) = (words.next(), words.next()) else {
            return Err(format!("answered {line}").into());
        };
        let text = self.0.body(len.parse()?)?;
        write!(self.0.out, "delete {id}\r\n")?;
        self.0.flush()?;
        self.0.expect("DELETED")?;
        Ok(Some(text))
    }
}

/// A list of Redis as a queue that loses nothing when a worker dies: what is taken stands in a second list
/// until it is done.
pub(crate) struct Redis(Lines);

impl Redis {
    pub(crate) fn connect(port: u16) -> Result<Self, PeerError> {
        Ok(Self(Lines::open(port)?))
    }

    fn command(&mut self, words: &[&str]) -> Result<(), PeerError> {
        write!(self.0.out, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.0.out, "${}\r\n{word}\r\n", word.len())?;
        }
        Ok(())
    }
}

impl Client for Redis {
    fn push(&mut self, _number: u32, text: &str, _delay_ms: u32) -> Result<(), PeerError> {
        self.command(&["RPUSH", "load", text])
    }

    fn flush(&mut self) -> Result<(), PeerError> {
        self.0.flush()
    }

    fn take_answer(&mut self) -> Result<(), PeerError> {
        self.0.expect(":")
    }

    fn fetch_and_finish(&mut self) -> Result<Option<String>, PeerError> {
        let wait = FETCH_WAIT_S.to_string();
        self.command(&["BLMOVE", "load", "taken", "LEFT", "RIGHT", &wait])?;
        self.0.flush()?;
        let line = self.0.line()?.to_owned();
        // Nothing within the wait: an array or a string that is none, by version.
        if line == "*-1" || line == "$-1" {
            return Ok(None);
        }
        let len = line.strip_prefix('$').ok_or(format!("answered {line}"))?;
        let text = self.0.body(len.parse()?)?;
        self.command(&["LREM", "taken", "1", &text])?;
        self.0.flush()?;
        self.0.expect(":1")?;
        Ok(Some(text))
    }
}

/// A server of the work protocol, as any client of it works: PUSH, FETCH, ACK.
pub(crate) struct Work(Lines);

impl Work {
    pub(crate) fn connect(port: u16, is_worker: bool) -> Result<Self, PeerError> {
        let mut lines = Lines::open(port)?;
        lines.expect("+HI")?;
        let wid = if is_worker { r#","wid":"peers-00000001""# } else { "" };
        write!(lines.out, "HELLO {{\"v\":2{wid}}}\r\n")?;
        lines.flush()?;
        lines.expect("+OK")?;
        Ok(Self(lines))
    }
}

impl Client for Work {
    fn push(&mut self, number: u32, text: &str, delay_ms: u32) -> Result<(), PeerError> {
        let head = format!(
            r#"PUSH {{"jid":"peer-{number:08}","jobtype":"load","args":["{text}"],"queue":"load""#
        );
        // The instant stands in the text already, in microseconds since 1970.
        let at = match delay_ms {
            0 => String::new(),
            _ => {
                let due_us: u64 = text.split(':').nth(1).unwrap_or_default().parse()?;
                format!(r#","at":"{}""#, rfc3339(due_us))
            }
        };
        write!(self.0.out, "{head}{at}}}\r\n")?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PeerError> {
        self.0.flush()
    }

    fn take_answer(&mut self) -> Result<(), PeerError> {
        self.0.expect("+OK")
    }

    fn fetch_and_finish(&mut self) -> Result<Option<String>, PeerError> {
        self.0.out.extend_from_slice(b"FETCH load\r\n");
        self.0.flush()?;
        let line = self.0.line()?.to_owned();
        let len = line.strip_prefix('$').ok_or(format!("answered {line}"))?;
        if len.starts_with('-') {
            return Ok(None);
        }
        let json = self.0.body(len.parse()?)?;
        let part = |begin: &str| json.split(begin).nth(1)?.split('"').next();
        let (Some(jid), Some(text)) = (part(r#""jid":""#), part(r#""args":[""#)) else {
            return Err(format!("gave {json}").into());
        };
        write!(self.0.out, "ACK {{\"jid\":\"{jid}\"}}\r\n")?;
        self.0.flush()?;
        self.0.expect("+OK")?;
        Ok(Some(text.to_owned()))
    }
}

/// Microseconds since 1970 as RFC 3339, by the civil calendar.
fn rfc3339(us: u64) -> String {
    let (seconds, micros) = (us / 1_000_000, us % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is the last.
    let day = days + 719_468;
    let era_day = day % 146_097;
    let year_of_era = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let day_of_year = era_day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = day / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_by_the_civil_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(rfc3339(1_798_761_599_999_999), "2026-12-31T23:59:59.999999Z");
    }
}
