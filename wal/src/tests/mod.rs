//! Tests that need the storage seam: failing disks, exhaustive damage, unordered write-back.
//!
//! What can be shown through the public interface alone is in `tests/log`.

mod crash;
mod damage;
mod descriptors;
mod disk;
mod failing;
mod faulty;
mod image;
#[cfg(loom)]
mod loom;
mod lost_writes;
pub(crate) mod page;
mod simulation;
mod snapshots;
mod staged;
