//! What a record of the history's log holds. Numbers are little-endian; the first byte says which kind
//! of entry it is. `docs/history.md` has the layout.

use tickwheel_core::Lsn;

use super::event::{GapReason, HistoryGap};
use crate::clock::system_time;

/// A fact follows.
const FACT: u8 = 0;
/// All that a reader of later entries has to know of earlier ones.
const STATE: u8 = 1;
/// Something is missing.
const GAP: u8 = 2;
/// A shard's log was taken up to a position.
const MARK: u8 = 3;
/// A subscription was confirmed up to a position.
const CURSOR: u8 = 4;

/// Bytes before the output of a fact: kind, shard, position, length of the output.
pub(super) const FACT_HEAD_BYTES: usize = 1 + 1 + 8 + 2;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A fact of the core.
    Fact {
        shard: u8,
        /// Position of its event in the shard's log.
        lsn: Lsn,
        /// The end of what the attempt wrote.
        output: &'a [u8],
        /// See [`tickwheel_core::fact::Fact`].
        fact: &'a [u8],
    },
    /// Written first in a log, and before its beginning is cut off.
    State(State),
    Gap(GapEntry),
    Mark {
        shard: u8,
        /// All facts of events below were written.
        upto: Lsn,
    },
    Cursor {
        name: String,
        /// `None`: the subscription is not kept any more.
        at: Option<u64>,
    },
}

/// All that stays of what was cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// When this history was begun: tells it from another one in its place.
    pub(super) born: u64,
    /// Of each shard: all facts of events below a position were written, and so many of the event there.
    pub(super) marks: Vec<(u8, Lsn, u32)>,
    /// Named subscriptions.
    pub(super) cursors: Vec<(String, u64)>,
}

/// Something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GapEntry {
    pub(super) shard: u8,
    pub(super) from: Lsn,
    pub(super) to: Lsn,
    pub(super) at: u64,
    pub(super) reason: GapReason,
}

impl GapEntry {
    pub(super) fn told(self) -> HistoryGap {
        HistoryGap {
            shard: Some(tickwheel_core::ShardId(self.shard)),
            from: self.from.0,
            to: self.to.0,
            at: Some(system_time(tickwheel_core::WallTime(self.at))),
            reason: self.reason,
        }
    }
}

/// What comes before the output and the fact in a record.
pub(super) fn fact_head(shard: u8, lsn: Lsn, output_len: u16) -> [u8; FACT_HEAD_BYTES] {
    let mut head = [0; FACT_HEAD_BYTES];
    head[0] = FACT;
    head[1] = shard;
    head[2..10].copy_from_slice(&lsn.0.to_le_bytes());
    head[10..].copy_from_slice(&output_len.to_le_bytes());
    head
}

impl<'a> Entry<'a> {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Fact { shard, lsn, output, fact } => {
                // Whoever keeps outputs cuts them.
                bytes.extend_from_slice(&fact_head(*shard, *lsn, output.len() as u16));
                bytes.extend_from_slice(output);
                bytes.extend_from_slice(fact);
            }
            Self::State(State { born, marks, cursors }) => {
                bytes.push(STATE);
                put(&mut bytes, *born);
                bytes.extend_from_slice(&(marks.len() as u16).to_le_bytes());
                for (shard, upto, facts) in marks {
                    bytes.push(*shard);
                    put(&mut bytes, upto.0);
                    bytes.extend_from_slice(&facts.to_le_bytes());
                }
                bytes.extend_from_slice(&(cursors.len() as u16).to_le_bytes());
                for (name, at) in cursors {
                    put_name(&mut bytes, name);
                    put(&mut bytes, *at);
                }
            }
            Self::Gap(GapEntry { shard, from, to, at, reason }) => {
                bytes.extend_from_slice(&[GAP, *shard, reason.number()]);
                put(&mut bytes, from.0);
                put(&mut bytes, to.0);
                put(&mut bytes, *at);
            }
            Self::Mark { shard, upto } => {
                bytes.extend_from_slice(&[MARK, *shard]);
                put(&mut bytes, upto.0);
            }
            Self::Cursor { name, at } => {
                bytes.push(CURSOR);
                put_name(&mut bytes, name);
                put(&mut bytes, at.unwrap_or(u64::MAX));
            }
        }
        bytes
    }

    /// Reads an entry; `None` if the bytes are none that this version knows.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = Bytes(rest);
        let entry = match *kind {
            FACT => {
                let (shard, lsn) = (rest.byte()?, Lsn(rest.number()?));
                let len = rest.short()?;
                let (output, fact) = rest.0.split_at_checked(usize::from(len))?;
                return Some(Self::Fact { shard, lsn, output, fact });
            }
            STATE => {
                let born = rest.number()?;
                let marks = (0..rest.short()?).map(|_| {
                    let (shard, upto) = (rest.byte()?, Lsn(rest.number()?));
                    Some((shard, upto, rest.take().map(u32::from_le_bytes)?))
                });
                let marks = marks.collect::<Option<_>>()?;
                let cursors = (0..rest.short()?).map(|_| Some((rest.name()?, rest.number()?)));
                let cursors = cursors.collect::<Option<_>>()?;
                Self::State(State { born, marks, cursors })
            }
            GAP => {
                let (shard, reason) = (rest.byte()?, GapReason::of(rest.byte()?));
                let (from, to, at) = (Lsn(rest.number()?), Lsn(rest.number()?), rest.number()?);
                Self::Gap(GapEntry { shard, from, to, at, reason })
            }
            MARK => Self::Mark { shard: rest.byte()?, upto: Lsn(rest.number()?) },
            CURSOR => {
                let (name, at) = (rest.name()?, rest.number()?);
                Self::Cursor { name, at: (at != u64::MAX).then_some(at) }
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(entry)
    }
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    // Names are checked when they are given.
    bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<String> {
        let len = usize::from(self.short()?);
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_cut_ones_are_refused() {
        let state = State {
            born: 7,
            marks: vec![(0, Lsn(64), 0), (255, Lsn(u64::MAX - 1), 3)],
            cursors: vec![("audit".to_owned(), 4096), ("ä".to_owned(), 0)],
        };
        let gap =
            GapEntry { shard: 3, from: Lsn(1), to: Lsn(2), at: 3, reason: GapReason::RolledBack };
        let entries = [
            Entry::Fact { shard: 1, lsn: Lsn(8), output: b"out", fact: b"fact" },
            Entry::State(State::default()),
            Entry::State(state),
            Entry::Gap(gap),
            Entry::Mark { shard: 9, upto: Lsn(77) },
            Entry::Cursor { name: "audit".to_owned(), at: Some(5) },
            Entry::Cursor { name: "audit".to_owned(), at: None },
        ];
        for entry in entries {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes).as_ref(), Some(&entry));
            let is_fact = matches!(entry, Entry::Fact { .. });
            let shortest = if is_fact { FACT_HEAD_BYTES + 3 } else { bytes.len() };
            for cut in 0..shortest {
                assert_eq!(Entry::decode(&bytes[..cut]), None, "{entry:?} cut to {cut}");
            }
            if !is_fact {
                assert_eq!(Entry::decode(&[&bytes[..], &[0]].concat()), None, "{entry:?}");
            }
        }
        assert_eq!(Entry::decode(&[9, 9, 9]), None);
    }
}
