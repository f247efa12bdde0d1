//! The atomics and threads of the protocols that are model-checked, in one place.
//!
//! With `--cfg loom` they are loom's, which tries every order. This file must hold re-exports,
//! nothing else.

#[cfg(loom)]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
    thread::{Thread, current, park, yield_now},
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
    thread::{Thread, current, park, yield_now},
};
