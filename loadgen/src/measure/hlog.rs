//! Interval logs: one line per interval and metric, in the form that HdrHistogram's tools read. It
//! knows histograms and a file.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
};
use tickwheel_engine::latency::Histogram;

/// Largest values stand in the log in milliseconds, as the tools' default has it.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// An interval log. A disk that fails ends it; the run goes on.
pub(crate) struct IntervalLog {
    out: BufWriter<File>,
    serializer: V2DeflateSerializer,
    began: SystemTime,
    has_head: bool,
    failure: Option<io::Error>,
}

impl IntervalLog {
    pub(crate) fn create(path: &Path, began: SystemTime) -> io::Result<Self> {
        Ok(Self {
            out: BufWriter::new(File::create(path)?),
            serializer: V2DeflateSerializer::new(),
            began,
            has_head: false,
            failure: None,
        })
    }

    /// Adds one interval of one metric.
    pub(crate) fn add(
        &mut self,
        tag: &'static str,
        start: Duration,
        len: Duration,
        histogram: &Histogram<u64>,
    ) {
        if self.failure.is_none()
            && let Err(error) = self.write(tag, start, len, histogram)
        {
            self.failure = Some(error);
        }
    }

    fn write(
        &mut self,
        tag: &'static str,
        start: Duration,
        len: Duration,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_max_value_divisor(MAX_VALUE_DIVISOR);
        let mut lines = Vec::new();
        if !self.has_head {
            builder
                .add_comment("tickwheel-loadgen: values in nanoseconds, one tag per metric")
                .with_start_time(self.began)
                .with_base_time(self.began);
        }
        let mut writer = builder.begin_log_with(&mut lines, &mut self.serializer)?;
        writer.write_histogram(histogram, start, len, Tag::new(tag)).map_err(
            |error| match error {
                IntervalLogWriterError::IoError(error) => error,
                other => io::Error::other(format!("{other:?}")),
            },
        )?;
        // A builder writes its head each time; only the first of them belongs into the file.
        let text = String::from_utf8_lossy(&lines);
        for line in text.lines().filter(|line| !self.has_head || line.starts_with("Tag=")) {
            writeln!(self.out, "{line}")?;
        }
        self.has_head = true;
        Ok(())
    }

    /// Ends the log; why it is not whole, if it is not.
    pub(crate) fn end(mut self) -> Option<io::Error> {
        self.failure.or_else(|| self.out.flush().err())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };
    use tickwheel_engine::latency;

    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_tools_own_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.hlog");
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut log = IntervalLog::create(&path, began).unwrap();
        let mut histogram = latency::histogram();
        for second in 0..3_u64 {
            histogram.reset();
            histogram.saturating_record_n(1_000_000 * (second + 1), 10);
            let start = Duration::from_secs(second);
            log.add("lateness", start, Duration::from_secs(1), &histogram);
        }
        assert!(log.end().is_none());
        let bytes = fs::read(&path).unwrap();
        let (mut counts, mut bases) = (Vec::new(), 0);
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.unwrap() {
                LogEntry::Interval(interval) => {
                    assert_eq!(interval.tag().unwrap().as_str(), "lateness");
                    let encoded = interval.encoded_histogram();
                    let raw = base64_of(encoded);
                    let read: Histogram<u64> =
                        Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
                    counts.push((interval.start_timestamp().as_secs(), read.len(), read.max()));
                }
                LogEntry::BaseTime(base) => {
                    bases += 1;
                    assert_eq!(base.as_secs(), 1_700_000_000);
                }
                LogEntry::StartTime(_) => {}
            }
        }
        assert_eq!(bases, 1);
        assert_eq!(
            counts.iter().map(|(at, len, _)| (*at, *len)).collect::<Vec<_>>(),
            [(0, 10), (1, 10), (2, 10)]
        );
        assert!((counts[2].2 as f64 / 3e6 - 1.0).abs() < 0.001, "{counts:?}");
    }

    /// Bytes of a base64 text.
    fn base64_of(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            bits = bits << 6 | u32::from(value(byte));
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
            }
        }
        bytes
    }
}
