//! What a caller changes about jobs that do not run, as it is written.

use bincode::{BorrowDecode, Encode};

/// One change of one or more jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum JobChange<'a> {
    /// They are over, and are not run any more.
    Cancelled,
    /// They were dead and are forgotten.
    Discarded,
    /// They waited and are dead, by a caller's wish.
    Killed,
    /// They were dead and are due at once, with no attempt counted.
    Requeued,
    /// They waited and are due at once.
    Run,
    /// They waited and are due at another time.
    Due {
        /// When.
        due: u64,
        /// Whether that is kept on the monotonic clock.
        mono: bool,
    },
    /// They waited and have another priority.
    Priority(u8),
    /// They waited and stand in another queue.
    Queue(&'a str),
}
