//! The bytes of one segment file, read whole, also where the medium gives back only a part of them.
//!
//! It must not know what the bytes mean.

use std::io;
use std::ops::Range;

use crate::storage::SegmentFile;

/// Size of a read.
const PIECE_BYTES: usize = 1 << 20;
/// Size of the reads that find out how much of a piece cannot be read: what a disk gives back or
/// does not.
const SECTOR_BYTES: usize = 4 << 10;

/// A segment as it was read.
#[derive(Default)]
pub(super) struct Image {
    /// As many bytes as a segment has. What is missing or could not be read is zero.
    pub(super) bytes: Vec<u8>,
    /// Bytes that the file has, at most those of a segment.
    pub(super) len: usize,
    /// Parts that could not be read, with the reason.
    pub(super) unreadable: Vec<(Range<usize>, String)>,
}

impl Image {
    /// Reads a file into this image. It does not fail: what cannot be read is noted.
    pub(super) fn read(&mut self, file: io::Result<Box<dyn SegmentFile>>, segment_len: usize) {
        self.bytes.clear();
        self.bytes.resize(segment_len, 0);
        self.unreadable.clear();
        self.len = 0;
        let opened = file.and_then(|file| Ok((file.len_bytes()?, file)));
        let (len_bytes, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.unreadable.push((0..segment_len, error.to_string()));
                return;
            }
        };
        self.len = len_bytes.min(segment_len as u64) as usize;
        let mut at = 0;
        while at < self.len {
            let end = (at + PIECE_BYTES).min(self.len);
            if file.read_at(&mut self.bytes[at..end], at as u64).is_err() {
                self.read_sectors(file.as_ref(), at..end);
            }
            at = end;
        }
    }

    fn read_sectors(&mut self, file: &dyn SegmentFile, piece: Range<usize>) {
        let mut at = piece.start;
        while at < piece.end {
            let end = (at + SECTOR_BYTES).min(piece.end);
            if let Err(error) = file.read_at(&mut self.bytes[at..end], at as u64) {
                self.bytes[at..end].fill(0);
                match self.unreadable.last_mut() {
                    Some((last, _)) if last.end == at => last.end = end,
                    _ => self.unreadable.push((at..end, error.to_string())),
                }
            }
            at = end;
        }
    }

    /// Why a part of these bytes could not be read, if one could not.
    pub(super) fn failure_in(&self, range: &Range<usize>) -> Option<&str> {
        let overlaps =
            |(part, _): &&(Range<usize>, String)| part.start < range.end && range.start < part.end;
        self.unreadable.iter().find(overlaps).map(|(_, message)| message.as_str())
    }
}
