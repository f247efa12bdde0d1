//! Judges a log as an opening would, and goes on where an opening stops: at the first damage.
//!
//! The verdict itself is that of the recovery, so that the two never differ. It must not change
//! anything.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::error::OpenError;
use crate::limits::RECOVERY_THREADS_MAX;
use crate::lsn::Lsn;
use crate::recovery::{Expected, Record, Recovered, RecoveryReport, Target, recover};
use crate::snapshot::{SnapshotError, SnapshotInfo};
use crate::sync::thread;

use super::walk::Gap;
use super::{InspectError, LogFiles};

/// A place where bytes that had been durable are damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The segment file.
    pub path: PathBuf,
    /// Offset in it.
    pub offset: u64,
    /// The same as a position in the log.
    pub lsn: Lsn,
    /// How far the damage reaches; 0 where that is not known.
    pub len_bytes: u64,
    /// What is wrong there.
    pub reason: String,
}

impl From<&Gap> for Damage {
    fn from(gap: &Gap) -> Self {
        Damage {
            path: gap.path.clone(),
            offset: gap.offset,
            lsn: gap.lsn,
            len_bytes: gap.len_bytes,
            reason: gap.reason.clone(),
        }
    }
}

/// What became of the check of one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub struct SnapshotCheck {
    /// The position that it is of, by its name.
    pub lsn: Lsn,
    /// What it says about itself, or what is wrong with it.
    pub result: Result<SnapshotInfo, SnapshotError>,
    /// The log holds its position; an opening removes one of which it does not.
    pub is_held: bool,
}

/// What a verification found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Damage to what had been durable, in order. An opening is refused for it.
    pub damage: Vec<Damage>,
    /// Bytes that a crash left behind the records. An opening drops them; nothing durable is lost.
    pub torn_bytes: u64,
    /// Harmless damage that no record depends on.
    pub warnings: Vec<String>,
    /// The snapshots, in order.
    pub snapshots: Vec<SnapshotCheck>,
    /// Everything below was durable, as far as the log says.
    pub durable_mark: Lsn,
    /// What an opening would report; `None` where there is damage.
    pub report: Option<RecoveryReport>,
    /// Where the records end.
    pub end: Lsn,
}

impl Verdict {
    /// Nothing at all is wrong.
    pub fn is_clean(&self) -> bool {
        self.torn_bytes == 0 && self.warnings.is_empty() && !self.is_damaged()
    }

    /// Something that had been written for good is damaged: in the log, or a snapshot.
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || self.has_damaged_snapshot()
    }

    /// A snapshot is damaged. The log needs none of them.
    pub fn has_damaged_snapshot(&self) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot.result.is_err())
    }
}

impl LogFiles {
    /// Reads everything, and checks it as an opening would. `replay` gets the data records from the
    /// head on, if the log has no damage.
    ///
    /// Only what was taken with [`LogFiles::lock`] can be judged: a log that is in use changes.
    ///
    /// # Errors
    /// See [`InspectError`]; damage is not an error but a verdict.
    pub fn verify(&self, replay: &mut dyn FnMut(Record<'_>)) -> Result<Verdict, InspectError> {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let expected = Expected {
            segment_bytes: self.segment_bytes(),
            shard: self.shard().unwrap_or(0),
            threads: threads.min(RECOVERY_THREADS_MAX),
        };
        let mut records = |record: Record<'_>| {
            replay(record);
            Ok(())
        };
        let recovered = recover(&self.storage, expected, Target::Records(&mut records));
        match recovered {
            Ok(recovered) => self.sound(recovered),
            Err(error) => self.unsound(error),
        }
    }

    fn sound(&self, recovered: Recovered) -> Result<Verdict, InspectError> {
        let snapshots =
            self.check_snapshots(&|lsn, epoch| recovered.epoch_at(lsn) == Some(epoch))?;
        Ok(Verdict {
            damage: Vec::new(),
            torn_bytes: recovered.report.torn_bytes,
            warnings: recovered.report.warnings.clone(),
            snapshots,
            durable_mark: Lsn(recovered.mark),
            end: Lsn(recovered.end),
            report: Some(recovered.report),
        })
    }

    fn unsound(&self, error: OpenError) -> Result<Verdict, InspectError> {
        let survey = self.walk(Lsn(0), &mut |_| ControlFlow::Continue(()))?;
        let mut damage: Vec<Damage> = survey.damage.iter().map(Damage::from).collect();
        let mut durable_mark = survey.durable_mark;
        match error {
            OpenError::Corrupt { path, lsn, offset, reason, durable_mark: mark } => {
                durable_mark = durable_mark.max(mark);
                // The walk names the same place, and how far it reaches.
                // Where the next header is lost, an opening stops at the end of the records before.
                let next = Lsn((lsn.0 / self.segment_bytes() + 1) * self.segment_bytes());
                let is_known = |known: &Damage| {
                    let reaches = Lsn(known.lsn.0 + known.len_bytes);
                    known.lsn == lsn || known.lsn == next || (known.lsn..reaches).contains(&lsn)
                };
                if !damage.iter().any(is_known) {
                    damage.push(Damage { path, offset, lsn, len_bytes: 0, reason });
                    damage.sort_by_key(|damage| damage.lsn);
                }
            }
            // A medium that fails is damage if the walk could not read it either.
            OpenError::Io { .. } if !damage.is_empty() => {}
            OpenError::Io { action, path, source } => {
                return Err(InspectError::Io { action, path, source });
            }
            OpenError::NewerVersion { found, supported } => {
                return Err(InspectError::NewerVersion {
                    path: self.dir.clone(),
                    found,
                    supported,
                });
            }
            OpenError::UnknownFeatures { path, features } => {
                return Err(InspectError::UnknownFeatures { path, features });
            }
            OpenError::OptionMismatch { path, option, stored, given } => {
                let lsn = Lsn(0);
                let reason = format!("{option} is {stored}, but {given} in the other segments");
                damage.insert(0, Damage { path, offset: 0, lsn, len_bytes: 0, reason });
            }
            other => {
                let source = std::io::Error::other(other.to_string());
                return Err(InspectError::Io { action: "read", path: self.dir.clone(), source });
            }
        }
        Ok(Verdict {
            damage,
            torn_bytes: survey.torn_bytes,
            warnings: Vec::new(),
            snapshots: self.check_snapshots(&|_, _| true)?,
            durable_mark,
            end: survey.end,
            report: None,
        })
    }

    fn check_snapshots(
        &self,
        is_held: &dyn Fn(Lsn, u64) -> bool,
    ) -> Result<Vec<SnapshotCheck>, InspectError> {
        let mut checks = Vec::new();
        for lsn in self.snapshots()? {
            let result = match self.snapshot(lsn) {
                Ok(info) => Ok(info),
                Err(InspectError::Snapshot(error)) => Err(error),
                Err(other) => return Err(other),
            };
            let is_held = result.as_ref().is_ok_and(|info| is_held(lsn, info.epoch));
            checks.push(SnapshotCheck { lsn, result, is_held });
        }
        Ok(checks)
    }
}
