//! Behaviour of the log through its public interface.
//!
//! The modules beside this file each take one promise; `fixture` holds what they share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corruption;
mod durability;
mod fixture;
mod golden;
mod model;
mod ownership;
mod reading;
mod release;
mod reservation;
mod round_trip;
mod snapshot;
mod space;
