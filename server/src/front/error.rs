//! Why the front-end did not start.

use std::{io, net::SocketAddr};

/// The front-end was not started; nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be listened at.
    #[error(
        "cannot listen at {address}: {source}; end what listens there, or name another with --listen"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Anyone who reaches the address could push and fetch.
    #[error(
        "{address} can be reached from other machines, and there is no password: set TICKWHEEL_PASSWORD or `password` in [work], or listen at 127.0.0.1"
    )]
    NoPassword {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused a poll or a thread.
    #[error("cannot start an I/O thread: {0}")]
    System(#[from] io::Error),
}
