//! What the tests that cross crates share: the rules of the house, the binary under test, and a
//! seeded source of random numbers.
//!
//! The tests themselves are in `tests/`; `docs/testing.md` says what each proves and how to run it.
#![forbid(unsafe_code)]

pub mod binary;
pub mod house;
pub mod random;
