//! Behaviour of the log through its public interface.
//!
//! The modules beside this file each take one promise; `fixture` holds what they share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corruption;
mod durability;
mod fixture;
mod model;
mod ownership;
mod reading;
mod round_trip;
mod space;
